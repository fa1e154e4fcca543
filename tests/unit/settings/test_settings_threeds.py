"""The settings of the connection to the 3-D Secure server, and its API key."""

import pytest
from pydantic import SecretStr

from gateway.settings import ThreeDSSettings
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files

KEY = "2f1c3b9e-0d5a-4b8e-9a47-0c5d8f6e7a10"
TABLE = '[threeds]\nbase_url = "https://service.sandbox.3dsecure.io"\n'


def loaded(files: Files, line: str = "") -> ThreeDSSettings:
    threeds = files.load(rest=TABLE + line).threeds
    assert threeds is not None
    return threeds


def mistake_of(files: Files, *lines: str) -> str:
    (mistake,) = files.mistakes(rest=TABLE + "\n".join(lines))
    assert KEY not in mistake
    return mistake


def key_file(files: Files, content: str) -> str:
    """Write a private file with a key, and return its setting."""
    file = files.other("api-key", 0o600)
    file.write_text(content, encoding="utf-8")
    return f'api_key_file = "{file}"'


def test_without_the_table_there_is_no_3ds_server(files: Files) -> None:
    settings = files.load()

    assert settings.threeds is None
    assert "# threeds is not set" in effective(settings).splitlines()


def test_the_server_gives_up_before_the_gateway_does(files: Files) -> None:
    assert loaded(files, f'api_key = "{KEY}"').total_timeout_seconds == 11.0


def test_the_key_may_come_from_the_environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_THREEDS__API_KEY", KEY)

    assert loaded(files).read_api_key().get_secret_value() == KEY


def test_the_key_may_come_from_a_file_whose_white_space_does_not_count(files: Files) -> None:
    assert loaded(files, key_file(files, f"{KEY}\n")).read_api_key().get_secret_value() == KEY


def test_a_key_file_is_private(files: Files) -> None:
    mistake = mistake_of(files, 'api_key_file = "{public}"')

    assert mistake.startswith("threeds.api_key_file ")
    assert "private file must belong to" in mistake


@pytest.mark.parametrize("keys", [[f'api_key = "{KEY}"', 'api_key_file = "{private}"'], []])
def test_there_is_one_key(files: Files, keys: list[str]) -> None:
    mistake = mistake_of(files, *keys)

    assert mistake.startswith("threeds ")
    assert "set either api_key or api_key_file" in mistake


def test_an_unknown_setting_is_refused(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_THREEDS__NOPE", "1")

    assert mistake_of(files, f'api_key = "{KEY}"').startswith("threeds.nope ")


@pytest.mark.parametrize("key", ["", "two words", "\u00e9", "line\nbreak", "x" * 257])
def test_a_key_that_is_no_header_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        ThreeDSSettings(base_url="https://service.3dsecure.io", api_key=SecretStr(key))

    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("content", ["", "two words", "\u00e9"])
def test_a_key_file_without_a_key_is_refused_before_anything_starts(files: Files, content: str) -> None:
    mistake = mistake_of(files, key_file(files, content))

    assert mistake.startswith("threeds.api_key_file ")
    assert "printable ASCII" in mistake
    assert not content or content not in mistake
