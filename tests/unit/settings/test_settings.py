"""Settings from the file and the environment, and the place that each mistake in them is given."""

import re
import tomllib
from pathlib import Path

import pytest

from gateway.settings import FILE_VARIABLE, Settings, SettingsError, load
from tests.unit.settings.settings_files import Files, mistakes_of


def test_what_is_not_set_has_its_default(files: Files) -> None:
    settings = files.load()

    assert settings.grpc.host == "127.0.0.1"
    assert (settings.grpc.port, settings.edge.port) == (8443, 9443)
    assert settings.d1.base_url == "https://api.d1.thalescloud.io"
    assert settings.edge.oauth is None
    assert settings.log.level == "info"
    assert settings.drain_grace_seconds == 10.0
    assert not settings.grpc.reuse_port
    assert not settings.edge.reuse_port


def test_the_file_is_read(files: Files) -> None:
    settings = files.load(top="drain_grace_seconds = 2.5", edge="port = 0", d1="max_connections = 3")

    assert settings.drain_grace_seconds == 2.5
    assert settings.edge.port == 0
    assert settings.edge.tls_key_file == files.private
    assert settings.d1.max_connections == 3
    assert [key.kid for key in settings.issuers["ISSUER0001"].assertion_keys] == ["assertion-1"]


def test_a_kind_of_callback_keeps_its_default_where_its_table_does_not_name_it(files: Files) -> None:
    callbacks = files.load(
        rest="[callbacks.consumer_information]\ndeadline_seconds = 1\n[callbacks.deliver_otp]\ndeadline_seconds = 1"
    ).callbacks

    assert callbacks.consumer_information.deadline_seconds == callbacks.deliver_otp.deadline_seconds == 1
    assert (callbacks.consumer_information.max_attempts_if_slow, callbacks.deliver_otp.max_attempts_if_slow) == (2, 1)


def test_a_byte_order_mark_before_the_file_does_not_matter(files: Files) -> None:
    file = files.write(top="drain_grace_seconds = 2.5")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert load(file).drain_grace_seconds == 2.5


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b'# Caf\xe9\na = "\xe9"', "it is not UTF-8 text (at line 1): save it in that encoding"),
        (b"a = " + b"[" * 50_000, "its values nest too deeply"),
    ],
    ids=["Latin-1", "nested"],
)
def test_a_file_that_cannot_be_read_as_text_or_nests_too_deeply_is_told_in_words(
    files: Files, content: bytes, mistake: str
) -> None:
    files.toml.write_bytes(content)

    with pytest.raises(SettingsError) as refused:
        load(files.toml)
    assert refused.value.mistakes == [f"{files.toml}: {mistake}"]


def test_the_environment_wins_over_the_file(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_DRAIN_GRACE_SECONDS", "7")
    monkeypatch.setenv("D1_GATEWAY_EDGE__PORT", "2")
    monkeypatch.setenv("D1_GATEWAY_LOG__LEVEL", "debug")

    settings = files.load(top="drain_grace_seconds = 2.5", edge="port = 1\nmax_body_bytes = 2048")

    assert settings.drain_grace_seconds == 7.0
    assert (settings.edge.port, settings.edge.max_body_bytes) == (2, 2048)
    assert settings.log.level == "debug"


def test_everything_may_come_from_the_environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("EDGE", "D1"):
        monkeypatch.setenv(f"D1_GATEWAY_{table}__TLS_CERTIFICATE_FILE", str(files.public))
        monkeypatch.setenv(f"D1_GATEWAY_{table}__TLS_KEY_FILE", str(files.private))
    monkeypatch.setenv("D1_GATEWAY_EDGE__TLS_CLIENT_CA_FILE", str(files.public))
    monkeypatch.setenv("D1_GATEWAY_ACCESS__POLICY_FILE", str(files.public))
    monkeypatch.setenv("D1_GATEWAY_ACCESS__TOKENS__ISSUER", "https://login.example")
    monkeypatch.setenv("D1_GATEWAY_ACCESS__TOKENS__JWKS_FILE", str(files.public))
    monkeypatch.setenv(
        "D1_GATEWAY_ISSUERS",
        f'{{"ISSUER0001": {{"assertion_keys": [{{"file": "{files.private}", "kid": "a"}}], '
        f'"d1_encryption_keys": [{{"file": "{files.public}", "kid": "b", "active_from": "2027-03-01T06:00:00Z"}}]}}}}',
    )
    monkeypatch.setenv("D1_GATEWAY_NATS__SERVERS", '["tls://nats.example:4222"]')
    monkeypatch.setenv("D1_GATEWAY_NATS__REPLICAS", "5")
    monkeypatch.setenv("D1_GATEWAY_CALLBACKS__AUTHENTICATE__FALLBACK_STATUS", "404")

    settings = load(None)

    assert list(settings.issuers) == ["ISSUER0001"]
    assert settings.edge.tls_client_ca_file == files.public
    assert settings.nats is not None
    assert settings.nats.replicas == 5
    assert settings.callbacks.authenticate.fallback_status == 404


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (FILE_VARIABLE, "d1-gateway.toml"),
        ("D1_GATEWAY_CLIENT_ADDRESS", "127.0.0.1:8443"),
        ("D1_NOPE", "1"),
        ("EDGE__PORT", "1"),
        ("PORT", "1"),
    ],
)
def test_variables_of_others_and_the_one_that_names_the_file_are_no_settings(
    files: Files, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert files.load().edge.port == 9443


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        *((name, name) for name in ("D1_GATEWAY_NOPE", "d1_gateway_nope", "D1_GATEWAY_NOPE__PORT", "D1_GATEWAY_")),
        *((name, name) for name in ("D1_GATEWAY_EDGE_PORT", "D1_GATEWAY_DRAIN_GRACE_SECONDS__X")),
        ("D1_GATEWAY_EDGE__NOPE", "edge.nope"),
        ("D1_GATEWAY_EDGE__PORT__NOPE", "edge.port"),
        ("D1_GATEWAY_EDGE__OAUTH__NOPE", "edge.oauth.nope"),
        ("D1_GATEWAY_GRPC__NOPE", "grpc.nope"),
        ("D1_GATEWAY_LOG__NOPE", "log.nope"),
        ("D1_GATEWAY_EVENT_LOG__NOPE", "event_log.nope"),
    ],
)
def test_an_unknown_setting_in_the_environment_is_refused_with_its_place(
    files: Files, monkeypatch: pytest.MonkeyPatch, variable: str, place: str
) -> None:
    monkeypatch.setenv(variable, "1")

    assert any(mistake.startswith(f"{place} ") for mistake in files.mistakes())


def test_the_examples_of_variables_in_the_reference_can_be_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
    in_shell = re.findall(r"^export (D1_GATEWAY_\w+)='(.+?)'$", reference, re.MULTILINE | re.DOTALL)
    in_table = re.findall(r"`(D1_GATEWAY_\w+)=([^`]+)`", reference)
    assert (len(in_shell), len(in_table)) == (1, 5)
    # What these examples need beside them is missing; but their form is right.
    needed = re.compile(r"file not found|requires \[nats\]|must be on loopback")
    for variable, value in in_shell + in_table:
        with monkeypatch.context() as environment:
            environment.setenv(variable, value)
            mistakes = []
            try:
                files.load()
            except SettingsError as error:
                mistakes = error.mistakes
        assert [mistake for mistake in mistakes if not needed.search(mistake)] == []


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("D1_GATEWAY_EDGE_PORT", "D1_GATEWAY_EDGE__PORT"),
        ("D1_GATEWAY_EGDE__PORT", "D1_GATEWAY_EDGE__PORT"),
        ("d1_gateway_isuers", "D1_GATEWAY_ISSUERS"),
        ("D1_GATEWAY_D1__BASE_URI", "D1_GATEWAY_D1__BASE_URL"),
    ],
)
def test_an_unknown_variable_says_which_was_meant(
    files: Files, monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "1")

    assert any(mistake.endswith(f"unknown setting; did you mean {meant}?") for mistake in files.mistakes())


@pytest.mark.parametrize(
    ("variable", "value", "mistake"),
    [
        ("GRPC__PRT", "1", "grpc.prt (environment): unknown setting; did you mean D1_GATEWAY_GRPC__PORT?"),
        ("GRPC__PORT", "", "grpc.port (environment): Input should be"),
        ("GRPC", '{"prt": 1}', "grpc.prt (environment): unknown setting; did you mean D1_GATEWAY_GRPC__PORT?"),
        ("D1__TOTAL_TIMEOUT_SECONDS", "1", "d1 ({file} and environment): connect_timeout_seconds must not exceed"),
        ("GRPC__TLS_KEY_FILE", "{private}", "grpc (environment): set both tls_certificate_file and"),
        ("GRPC__PORT", "9443", "settings ({file} and environment): grpc.port and edge.port"),
        ("NATS", "nats://localhost", "nats (environment): must be a table"),
        ("ISSUERS", "{", "environment: error parsing value"),
    ],
)
def test_a_mistake_in_the_environment_is_not_blamed_on_the_file(
    files: Files, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, mistake: str
) -> None:
    monkeypatch.setenv(f"D1_GATEWAY_{variable}", value.replace("{private}", str(files.private)))

    (found,) = files.mistakes()

    assert found.startswith(mistake.format(file=files.toml))


def test_a_mistake_in_the_file_is_not_blamed_on_the_environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_EDGE__PORT", "0")

    (found,) = files.mistakes(edge="hots = 1")

    assert found.startswith(f"edge.hots ({files.toml}): ")


def test_every_mistake_is_named_at_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_NOPE", "1")

    mistakes = files.mistakes(top="drain_grace_seconds = -1", edge="port = 70000", d1='base_url = "http://d1.example"')

    places = [mistake.split(" ")[0] for mistake in mistakes]
    assert sorted(places) == ["D1_GATEWAY_NOPE", "d1.base_url", "drain_grace_seconds", "edge.port"]


def test_a_settings_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (mistake,) = mistakes_of(tmp_path / "nowhere.toml")

    assert mistake.startswith(f"{tmp_path}/nowhere.toml: ")


@pytest.mark.parametrize("content", [b"port = ", b"[edge", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_settings_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)

    (mistake,) = mistakes_of(file)

    assert mistake.startswith(f"{file}: ")


def test_without_any_settings_every_table_that_is_needed_is_named() -> None:
    assert [mistake.split(":")[0] for mistake in mistakes_of(None)] == ["access", "edge", "d1", "issuers"]


def test_settings_do_not_change_once_they_are_read(files: Files) -> None:
    with pytest.raises(ValueError, match="frozen"):
        files.load().grpc.port = 1


_PAGE = Path(__file__).parents[3] / "docs" / "issuers.md"
_BLOCKS = re.findall(r"^```toml\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", _BLOCKS)
def test_what_the_page_on_several_issuers_shows_is_valid(files: Files, block: str) -> None:
    text = re.sub(r'(?<=key_file = )".*"|(?<=^file = )".*"', f'"{files.private}"', block, flags=re.MULTILINE)
    text = re.sub(r'(?<=certificate_file = )".*"', f'"{files.public}"', text)
    shown = tomllib.loads(text)
    settings = tomllib.loads(files.write().read_text())
    usual = settings["issuers"].pop("ISSUER0001")
    for name, table in shown.items():
        settings[name] = {**settings.get(name, {}), **table}
    for issuer_id in ("ISSUER0001", "ISSUER0002"):
        issuer = settings["issuers"].setdefault(issuer_id, {})
        given = {"d1_encryption_keys"} if "aggregator" in issuer else usual.keys()
        issuer |= {key: usual[key] for key in given}

    assert set(Settings(**settings).issuers) == {"ISSUER0001", "ISSUER0002"}
