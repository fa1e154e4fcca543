from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings import load
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files

# What a TOML file may hold as it is.
CHARACTERS = st.characters(min_codepoint=0x20, exclude_characters="\x7f", codec="utf-8")
SECRET_HASH = "0b" * 32


def test_what_is_printed_can_be_loaded_again_but_for_what_is_masked(files: Files) -> None:
    oauth = f'[edge.oauth]\nclient_id = "d1"\nclient_secret_sha256 = "{SECRET_HASH}"\nsigning_key_file = "{{private}}"'
    proxy = '[edge.proxy]\nnetworks = ["10.1.2.3/32", "fd00::/8"]'
    first = files.load(top="drain_grace_seconds = 0.5", edge=f"port = 0\n{oauth}\n{proxy}", d1="max_connections = 7")

    printed = effective(first)

    assert SECRET_HASH not in printed
    assert 'client_secret_sha256 = "***"' in printed.splitlines()
    files.toml.write_text(printed.replace("***", SECRET_HASH))
    assert load(files.toml) == first


def test_every_default_is_printed(files: Files) -> None:
    lines = effective(files.load()).splitlines()

    for line in ("drain_grace_seconds = 10.0", "[grpc]", "port = 8443", "[event_log]", 'path = "d1-gateway.db"'):
        assert line in lines
    assert "# tls_client_ca_file is not set" in lines


@given(
    issuer=st.text(CHARACTERS, min_size=10, max_size=10),
    text=st.text(CHARACTERS, max_size=20).filter(lambda text: "@" not in text),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_an_issuer_id_and_a_text_of_any_characters_survive(files: Files, issuer: str, text: str) -> None:
    quoted, audience = (each.replace("\\", "\\\\").replace('"', '\\"') for each in (issuer, text))
    first = files.load(issuer=quoted, d1=f'assertion_audience = "{audience}"')
    assert list(first.issuers) == [issuer]
    assert first.d1.assertion_audience == text

    files.toml.write_text(effective(first), encoding="utf-8")

    assert load(files.toml) == first
