from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings import Settings, load
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files

# What a TOML file may hold as it is.
CHARACTERS = st.characters(min_codepoint=0x20, exclude_characters="\x7f", codec="utf-8")
SECRET_HASH = "0b" * 32


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


def with_oauth(files: Files) -> Settings:
    oauth = f"""
[edge.oauth]
client_id = "d1-client"
client_secret_sha256 = "{SECRET_HASH}"
signing_key_file = "{files.private}"
"""
    return load(files.write(edge=oauth))


def test_what_is_printed_can_be_loaded_again(files: Files) -> None:
    first = load(files.write(top="drain_grace_seconds = 0.5", edge="port = 0", d1="max_connections = 7"))

    files.toml.write_text(effective(first))

    assert load(files.toml) == first


def test_every_default_is_printed(files: Files) -> None:
    printed = effective(load(files.write()))

    for line in ("drain_grace_seconds = 10.0", "[grpc]", "port = 8443", "[event_log]", 'path = "d1-gateway.db"'):
        assert line in printed.splitlines()
    assert "# tls_client_ca_file is not set" in printed.splitlines()


def test_secrets_are_masked(files: Files) -> None:
    printed = effective(with_oauth(files))

    assert SECRET_HASH not in printed
    assert 'client_secret_sha256 = "***"' in printed.splitlines()


def test_but_for_what_is_masked_it_can_be_loaded_again(files: Files) -> None:
    first = with_oauth(files)

    files.toml.write_text(effective(first).replace("***", SECRET_HASH))

    assert load(files.toml) == first


@given(issuer=st.text(CHARACTERS, min_size=10, max_size=10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_an_issuer_id_of_any_characters_survives(files: Files, issuer: str) -> None:
    quoted = issuer.replace("\\", "\\\\").replace('"', '\\"')
    first = load(files.write(issuer=quoted))
    assert list(first.issuers) == [issuer]

    files.toml.write_text(effective(first), encoding="utf-8")

    assert load(files.toml) == first


@given(text=st.text(CHARACTERS, max_size=20).filter(lambda text: "@" not in text))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_text_of_any_characters_survives(files: Files, text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    first = load(files.write(d1=f'assertion_audience = "{quoted}"'))
    assert first.d1.assertion_audience == text

    files.toml.write_text(effective(first), encoding="utf-8")

    assert load(files.toml) == first
