import os
from pathlib import Path

import pytest

from gateway.settings import FILE_VARIABLE, EventLogSettings, SettingsError, load
from tests.unit.settings.settings_files import Files

OAUTH = f"""
[edge.oauth]
client_id = "d1-client"
client_secret_sha256 = "{"0a" * 32}"
"""


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.upper().startswith("D1_GATEWAY_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


def mistakes_of(file: Path | None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(file)
    return caught.value.mistakes


def test_what_is_not_set_has_its_default(files: Files) -> None:
    settings = load(files.write())

    assert settings.grpc.host == "127.0.0.1"
    assert (settings.grpc.port, settings.edge.port) == (8443, 9443)
    assert settings.d1.base_url == "https://api.d1.thalescloud.io"
    assert settings.edge.oauth is None
    assert settings.log.level == "info"
    assert settings.drain_grace_seconds == 10.0


def test_the_file_is_read(files: Files) -> None:
    settings = load(files.write(top="drain_grace_seconds = 2.5", edge="port = 0", d1="max_connections = 3"))

    assert settings.drain_grace_seconds == 2.5
    assert settings.edge.port == 0
    assert settings.edge.tls_key_file == files.private
    assert settings.d1.max_connections == 3
    assert [key.kid for key in settings.issuers["ISSUER0001"].assertion_keys] == ["assertion-1"]


def test_the_environment_wins_over_the_file(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    file = files.write(top="drain_grace_seconds = 2.5", edge="port = 1\nmax_body_bytes = 2048")
    monkeypatch.setenv("D1_GATEWAY_DRAIN_GRACE_SECONDS", "7")
    monkeypatch.setenv("D1_GATEWAY_EDGE__PORT", "2")
    monkeypatch.setenv("D1_GATEWAY_LOG__LEVEL", "debug")

    settings = load(file)

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

    settings = load(None)

    assert list(settings.issuers) == ["ISSUER0001"]
    assert settings.edge.tls_client_ca_file == files.public


def test_the_variable_that_names_the_file_is_no_setting(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    file = files.write()
    monkeypatch.setenv(FILE_VARIABLE, str(file))

    assert load(file).edge.port == 9443


def test_the_clients_variables_are_no_settings_of_the_gateway(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_CLIENT_ADDRESS", "127.0.0.1:8443")

    assert load(files.write()).edge.port == 9443


@pytest.mark.parametrize(
    ("where", "setting"),
    [
        ("top", "nope"),
        ("edge", "edge.nope"),
        ("d1", "d1.nope"),
        ("rest", "issuers.ISSUER0001.d1_encryption_keys.0.nope"),
    ],
)
def test_an_unknown_setting_in_the_file_is_refused_with_its_place(files: Files, where: str, setting: str) -> None:
    file = files.write(**{where: "nope = 1"})

    (mistake,) = mistakes_of(file)

    assert mistake.startswith(f"{setting} ")
    assert str(file) in mistake


def test_an_unknown_table_in_the_file_is_refused(files: Files) -> None:
    (mistake,) = mistakes_of(files.write(rest="[nope]\na = 1"))

    assert mistake.startswith("nope ")


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("D1_GATEWAY_NOPE", "D1_GATEWAY_NOPE"),
        ("d1_gateway_nope", "d1_gateway_nope"),
        ("D1_GATEWAY_NOPE__PORT", "D1_GATEWAY_NOPE__PORT"),
        ("D1_GATEWAY_EDGE_PORT", "D1_GATEWAY_EDGE_PORT"),
        ("D1_GATEWAY_DRAIN_GRACE_SECONDS__X", "D1_GATEWAY_DRAIN_GRACE_SECONDS__X"),
        ("D1_GATEWAY_", "D1_GATEWAY_"),
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

    assert any(mistake.startswith(f"{place} ") for mistake in mistakes_of(files.write()))


@pytest.mark.parametrize(
    ("variables", "mistake"),
    [
        ({"GRPC__PRT": "1"}, "grpc.prt (environment): Extra inputs"),
        ({"GRPC__PORT": ""}, "grpc.port (environment): Input should be"),
        ({"GRPC": '{"prt": 1}'}, "grpc.prt (environment): Extra inputs"),
        ({"D1__TOTAL_TIMEOUT_SECONDS": "1"}, "d1 ({file} and environment): connect_timeout_seconds must not exceed"),
        ({"GRPC__TLS_KEY_FILE": "{private}"}, "grpc (environment): set both tls_certificate_file and"),
        ({"GRPC__PORT": "9443"}, "settings ({file} and environment): grpc.port and edge.port"),
        ({"NATS": "nats://localhost"}, "nats (environment): Input should be"),
        ({"ISSUERS": "{"}, "environment: error parsing value"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_in_the_environment_is_not_blamed_on_the_file(
    files: Files, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], mistake: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(f"D1_GATEWAY_{variable}", value.replace("{private}", str(files.private)))

    (told,) = mistakes_of(files.write())

    assert told.startswith(mistake.format(file=files.toml))


def test_a_mistake_in_the_file_is_not_blamed_on_the_environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_EDGE__PORT", "0")
    file = files.write(edge="hots = 1")

    (told,) = mistakes_of(file)

    assert told.startswith(f"edge.hots ({file}): ")


def test_a_byte_order_mark_before_the_file_does_not_matter(files: Files) -> None:
    file = files.write(top="drain_grace_seconds = 2.5")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert load(file).drain_grace_seconds == 2.5


def test_variables_of_others_do_not_matter(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_NOPE", "1")
    monkeypatch.setenv("EDGE__PORT", "1")
    monkeypatch.setenv("PORT", "1")

    assert load(files.write()).edge.port == 9443


def test_every_mistake_is_told_at_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_GATEWAY_NOPE", "1")
    file = files.write(top="drain_grace_seconds = -1", edge="port = 70000", d1='base_url = "http://d1.example"')

    places = [mistake.split(" ")[0] for mistake in mistakes_of(file)]

    assert sorted(places) == ["D1_GATEWAY_NOPE", "d1.base_url", "drain_grace_seconds", "edge.port"]


@pytest.mark.parametrize(
    "setting", ["edge.tls_key_file", "d1.tls_key_file", "issuers.ISSUER0001.assertion_keys.0.file"]
)
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o601, 0o644])
def test_a_private_key_that_others_can_reach_is_refused(files: Files, setting: str, mode: int) -> None:
    files.private.chmod(mode)

    assert any(mistake.startswith(f"{setting} ") and "chmod 600" in mistake for mistake in mistakes_of(files.write()))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_key_of_the_owner_alone_is_taken(files: Files, mode: int) -> None:
    files.private.chmod(mode)

    assert load(files.write()).edge.tls_key_file == files.private


def test_the_key_of_the_listener_for_callers_is_held_to_the_same_rule(files: Files) -> None:
    loose = files.folder / "loose.pem"
    loose.write_text("key")
    loose.chmod(0o644)

    rest = f'[grpc]\ntls_certificate_file = "{files.public}"\ntls_key_file = "{loose}"'
    (mistake,) = mistakes_of(files.write(rest=rest))

    assert mistake.startswith("grpc.tls_key_file ")


def test_the_key_that_signs_tokens_is_held_to_the_same_rule(files: Files) -> None:
    loose = files.folder / "loose.pem"
    loose.write_text("key")
    loose.chmod(0o644)

    (mistake,) = mistakes_of(files.write(edge=f'{OAUTH}signing_key_file = "{loose}"'))

    assert mistake.startswith("edge.oauth.signing_key_file ")


def test_a_file_that_is_not_there_is_named(files: Files) -> None:
    missing = files.folder / "missing.pem"

    (mistake,) = mistakes_of(files.write(d1=f'tls_ca_file = "{missing}"'))

    assert mistake.startswith("d1.tls_ca_file ")
    assert f"file not found: {missing}" in mistake


def test_a_folder_is_no_file(files: Files) -> None:
    (mistake,) = mistakes_of(files.write(d1=f'tls_ca_file = "{files.folder}"'))

    assert mistake.startswith("d1.tls_ca_file ")


# S104: these are exactly what must not be listened on.
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example", "", "localhost.example"])  # noqa: S104
def test_a_listener_without_tls_beyond_loopback_is_refused(files: Files, host: str) -> None:
    (mistake,) = mistakes_of(files.write(rest=f'[grpc]\nhost = "{host}"'))

    assert mistake.startswith("grpc ")
    assert "loopback" in mistake


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_listener_without_tls_on_loopback_is_taken(files: Files, host: str) -> None:
    assert load(files.write(rest=f'[grpc]\nhost = "{host}"')).grpc.host == host


def test_a_listener_with_tls_may_be_anywhere(files: Files) -> None:
    rest = f'[grpc]\nhost = "::"\ntls_certificate_file = "{files.public}"\ntls_key_file = "{files.private}"'

    assert load(files.write(rest=rest)).grpc.host == "::"


@pytest.mark.parametrize("given", ["tls_certificate_file", "tls_key_file", "tls_client_ca_file"])
def test_tls_by_halves_is_refused(files: Files, given: str) -> None:
    file = files.private if given == "tls_key_file" else files.public

    (mistake,) = mistakes_of(files.write(rest=f'[grpc]\n{given} = "{file}"'))

    assert mistake.startswith("grpc ")
    assert "tls_key_file" in mistake


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("d1.base_url", 'base_url = "http://d1.example"'),
        ("d1.base_url", 'base_url = "https://d1.example/path"'),
        ("d1.base_url", 'base_url = "https://user:secret@d1.example"'),
        ("d1.base_url", 'base_url = "https://[::1"'),
        ("d1.base_url", 'base_url = "https://d1.example:99999"'),
        ("d1.connect_timeout_seconds", "connect_timeout_seconds = 0"),
        ("d1.connect_timeout_seconds", "connect_timeout_seconds = inf"),
        ("d1.total_timeout_seconds", "total_timeout_seconds = nan"),
        ("d1.total_timeout_seconds", 'total_timeout_seconds = "soon"'),
        ("d1.max_connections", "max_connections = 0"),
        ("d1.assertion_audience", "assertion_audience = 5"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_its_place(files: Files, setting: str, line: str) -> None:
    (mistake,) = mistakes_of(files.write(d1=line))

    assert mistake.startswith(f"{setting} ")


@pytest.mark.parametrize("limit", [{"retention_seconds": 0}, {"retention_bytes": 0}, {"retention_bytes": -1}])
def test_a_retention_of_nothing_is_refused(limit: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(limit))):
        EventLogSettings.model_validate(limit)


@pytest.mark.parametrize("issuer", ["SHORT", "TOOLONG00001", ""])
def test_an_issuer_id_has_ten_characters(files: Files, issuer: str) -> None:
    (mistake,) = mistakes_of(files.write(issuer=issuer))

    assert mistake.startswith("issuers.")


def test_there_has_to_be_an_issuer(files: Files) -> None:
    file = files.write()
    text = file.read_text()
    file.write_text(text[: text.index("[[issuers")])

    (mistake,) = mistakes_of(file)

    assert mistake.startswith("issuers ")


def test_a_secret_where_its_hash_belongs_is_refused_without_being_repeated(files: Files) -> None:
    oauth = OAUTH.replace("0a" * 32, "hunter2hunter2")

    mistakes = mistakes_of(files.write(edge=f'{oauth}signing_key_file = "{files.private}"'))

    assert [mistake.split(" ")[0] for mistake in mistakes] == ["edge.oauth.client_secret_sha256"]
    assert "hunter2" not in str(mistakes)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (mistake,) = mistakes_of(tmp_path / "nowhere.toml")

    assert mistake.startswith(f"{tmp_path}/nowhere.toml: ")


@pytest.mark.parametrize("content", [b"port = ", b"[edge", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)

    (mistake,) = mistakes_of(file)

    assert mistake.startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("tokens", "mistake"),
    [
        ('issuer = "https://login.example"', "set either jwks_file or jwks_url"),
        ('issuer = "a"\njwks_file = "{public}"\njwks_url = "https://b.example"', "set either jwks_file or jwks_url"),
        ('issuer = "a"\njwks_file = "{public}"\njwks_ca_file = "{public}"', "jwks_ca_file requires jwks_url"),
        ('issuer = "a"\njwks_file = "{public}"\nalgorithms = ["HS256"]', "Input should be"),
        ('issuer = "a"\njwks_file = "{public}"\nalgorithms = ["none"]', "Input should be"),
    ],
)
def test_tokens_of_callers_have_one_source_and_no_shared_secret(files: Files, tokens: str, mistake: str) -> None:
    text = files.write().read_text()
    first, _, rest = text.partition("tokens = ")
    table = f"[access.tokens]\n{tokens.format(public=files.public)}\n"
    files.toml.write_text(first + table + rest.partition("\n")[2])

    assert any(mistake in found for found in mistakes_of(files.toml))


def test_callers_that_cannot_be_known_are_refused_at_the_start(files: Files) -> None:
    text = files.write().read_text()
    files.toml.write_text("\n".join(line for line in text.splitlines() if not line.startswith("tokens = ")))

    (mistake,) = mistakes_of(files.toml)

    assert "set grpc.tls_client_ca_file or access.tokens" in mistake


@pytest.mark.parametrize("listener", ["grpc", "edge"])
def test_a_port_is_reused_only_by_gateways_that_share_their_storage(
    files: Files, monkeypatch: pytest.MonkeyPatch, listener: str
) -> None:
    monkeypatch.setenv(f"D1_GATEWAY_{listener.upper()}__REUSE_PORT", "true")

    (mistake,) = mistakes_of(files.write())

    assert f"{listener}.reuse_port requires [nats]: the embedded event log belongs to one process" in mistake
    shared = load(files.write(rest='[nats]\nservers = ["nats://127.0.0.1:4222"]'))
    assert [shared.grpc.reuse_port, shared.edge.reuse_port].count(True) == 1


def test_ports_are_not_reused_unless_told(files: Files) -> None:
    settings = load(files.write())

    assert not settings.grpc.reuse_port
    assert not settings.edge.reuse_port


def test_without_any_settings_every_table_that_is_needed_is_named() -> None:
    assert [mistake.split(":")[0] for mistake in mistakes_of(None)] == ["access", "edge", "d1", "issuers"]


def test_settings_do_not_change_once_they_are_read(files: Files) -> None:
    settings = load(files.write())

    with pytest.raises(ValueError, match="frozen"):
        settings.grpc.port = 1
