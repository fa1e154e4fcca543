"""The settings of the connection to the 3-D Secure server, and its API key, which nothing shows."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.settings import Settings, SettingsError, ThreeDSSettings, load
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files

KEY = "2f1c3b9e-0d5a-4b8e-9a47-0c5d8f6e7a10"
URL = 'base_url = "https://service.sandbox.3dsecure.io"'


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.upper().startswith("D1_GATEWAY_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


def loaded(files: Files, *lines: str) -> tuple[Settings, ThreeDSSettings]:
    settings = load(files.write(rest="\n".join(["[threeds]", URL, *lines])))
    assert settings.threeds is not None
    return settings, settings.threeds


def mistakes_of(files: Files, *lines: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(files, *lines)
    assert KEY not in str(caught.value.mistakes)
    return caught.value.mistakes


def key_file(files: Files, content: str) -> str:
    """Write a private file with a key, and return its setting."""
    file = files.folder / "api-key"
    file.touch(mode=0o600)
    file.write_text(content, encoding="utf-8")
    return f'api_key_file = "{file}"'


def test_without_the_table_there_is_no_3ds_server(files: Files) -> None:
    settings = load(files.write())

    assert settings.threeds is None
    assert "# threeds is not set" in effective(settings).splitlines()


def test_the_server_gives_up_before_the_gateway_does(files: Files) -> None:
    _, threeds = loaded(files, f'api_key = "{KEY}"')

    assert threeds.total_timeout_seconds == 11.0


def test_the_key_may_come_from_the_environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_THREEDS__API_KEY", KEY)

    _, threeds = loaded(files)

    assert threeds.read_api_key().get_secret_value() == KEY


def test_the_key_may_come_from_a_file_whose_white_space_does_not_count(files: Files) -> None:
    _, threeds = loaded(files, key_file(files, f"{KEY}\n"))

    assert threeds.read_api_key().get_secret_value() == KEY


def test_the_key_is_shown_by_nothing(files: Files) -> None:
    settings, _ = loaded(files, f'api_key = "{KEY}"')

    assert 'api_key = "***"' in effective(settings).splitlines()
    assert KEY not in effective(settings) + repr(settings) + str(settings) + settings.model_dump_json()


def test_a_key_file_is_private(files: Files) -> None:
    (mistake,) = mistakes_of(files, f'api_key_file = "{files.public}"')

    assert mistake.startswith("threeds.api_key_file ")
    assert "chmod 600" in mistake


@pytest.mark.parametrize("both", [True, False])
def test_there_is_one_key(files: Files, *, both: bool) -> None:
    keys = [f'api_key = "{KEY}"', f'api_key_file = "{files.private}"'] if both else []

    (mistake,) = mistakes_of(files, *keys)

    assert mistake.startswith("threeds ")
    assert "set either api_key or api_key_file" in mistake


def test_an_unknown_setting_is_refused(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_THREEDS__NOPE", "1")

    (mistake,) = mistakes_of(files, f'api_key = "{KEY}"')

    assert mistake.startswith("threeds.nope ")


@pytest.mark.parametrize("key", ["", "two words", "\u00e9", "line\nbreak", "x" * 257])
def test_a_key_that_is_no_header_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        ThreeDSSettings(base_url="https://service.3dsecure.io", api_key=SecretStr(key))

    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("content", ["", "two words", "\u00e9"])
def test_a_key_file_without_a_key_is_refused_before_anything_starts(files: Files, content: str) -> None:
    (mistake,) = mistakes_of(files, key_file(files, content))

    assert mistake.startswith("threeds.api_key_file ")
    assert "printable ASCII" in mistake
    assert not content or content not in mistake
