"""Values that cannot be meant, and settings each of which is fine but which do not go together."""

from pathlib import Path

import pytest

from gateway.settings import EventLogSettings, load
from tests.unit.settings.settings_files import Files, mistakes_of

_OAUTH = """
[edge.oauth]
client_id = "d1-client"
client_secret_sha256 = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
"""
_SIGNING_KEY = 'signing_key_file = "{private}"'
_GRPC_TLS = '[grpc]\ntls_certificate_file = "{public}"\n'
_LOOSE = 'tls_key_passphrase_file = "{folder}/loose"'
_SECOND_KEY = '[[issuers.ISSUER0001.assertion_keys]]\nfile = "{private}"\nkid = "2"\n'


@pytest.mark.parametrize(
    ("place", "fault", "lines"),
    [
        *(
            ("d1.base_url ", "", {"d1": f'base_url = "{url}"'})
            for url in (
                *("http://d1.example", "https://d1.example/path", "https://user:secret@d1.example"),
                *("https://[::1", "https://d1.example:99999"),
            )
        ),
        ("d1.connect_timeout_seconds ", "", {"d1": "connect_timeout_seconds = 0"}),
        ("d1.connect_timeout_seconds ", "", {"d1": "connect_timeout_seconds = inf"}),
        ("d1.total_timeout_seconds ", "", {"d1": "total_timeout_seconds = nan"}),
        ("d1.total_timeout_seconds ", "", {"d1": 'total_timeout_seconds = "soon"'}),
        (
            "d1 (",
            "connect_timeout_seconds must not exceed",
            {"d1": "connect_timeout_seconds = 5\ntotal_timeout_seconds = 4"},
        ),
        ("d1 (", "head_timeout_seconds must not exceed total_timeout_seconds", {"d1": "head_timeout_seconds = 10.5"}),
        ("d1.max_connections ", "", {"d1": "max_connections = 0"}),
        ("audit (", 'ids = "keyed" requires key_file', {"rest": '[audit]\nfolder = "{folder}"\nids = "keyed"'}),
        (
            "audit.key_file ",
            "does not hold 64 lower-case hexadecimal digits",
            {"rest": '[audit]\nfolder = "{folder}"\nkey_file = "{private}"'},
        ),
        (
            "callbacks.card_credentials.fallback_status ",
            "400, 403, 404, 500",
            {"rest": "[callbacks.card_credentials]\nfallback_status = 503"},
        ),
        *(
            (f"backfill.{line.partition(' ')[0]} ", "", {"rest": f"[backfill]\n{line}"})
            for line in (
                *("calls_per_second = 0", "calls_per_second = 1001", "calls_per_second = nan", "outage_seconds = 0.5"),
                *("active_card_seconds = 0", "sweep_seconds = -1", "sweep_seconds = inf", 'enabled = "perhaps"'),
            )
        ),
        ("callbacks.deliver_otp.max_attempts ", "", {"rest": "[callbacks.deliver_otp]\nmax_attempts = 0"}),
        *(
            (
                "callbacks (",
                f"{kind}: max_attempts_if_slow must not exceed max_attempts: they are 3 and 2",
                {"rest": f"[callbacks.{kind}]\nmax_attempts = 2\nmax_attempts_if_slow = 3"},
            )
            for kind in ("deliver_otp", "card_credentials", "authentication_result")
        ),
        (
            "callbacks (",
            "consumer_information: max_attempts_if_slow must not exceed max_attempts: they are 2 and 1",
            {"rest": "[callbacks.consumer_information]\nmax_attempts = 1"},
        ),
        ("d1.assertion_audience ", "", {"d1": "assertion_audience = 5"}),
        ("d1.tls_ca_file ", "", {"d1": 'tls_ca_file = "{folder}"'}),
        ("d1.tls_ca_file ", "file not found: {folder}/missing.pem", {"d1": 'tls_ca_file = "{folder}/missing.pem"'}),
        *(("issuers.", "", {"issuer": issuer}) for issuer in ("SHORT", "TOOLONG00001", "")),
        *(
            ("edge.additional_banking_paths.0 ", "without a slash at", {"edge": f"additional_banking_paths = {paths}"})
            for paths in (
                *('[""]', '["/"]', '["banking/v1"]', '["/banking/v1/"]', '["/banking/../v1"]', '["/a//b"]'),
                *('["/{issuerId}"]', '["/a?b"]', '["/a%2fb"]', '["/é"]', '["/v1\\n"]'),
            )
        ),
        ("edge.additional_banking_paths ", "a path twice", {"edge": 'additional_banking_paths = ["/v1", "/v1"]'}),
        ("edge.additional_banking_paths ", "must be a list", {"edge": 'additional_banking_paths = "/banking/v1"'}),
        ("log ", "must be a table", {"top": "log = 5"}),
        ("aggregators ", "must be a table", {"top": "aggregators = 5"}),
        ("edge.oauth.client_secret_sha256 ", "", {"edge": _OAUTH.replace("0a" * 32, "hunter2") + _SIGNING_KEY}),
        # TLS by halves.
        *(
            ("grpc ", "tls_key_file", {"rest": f"[grpc]\n{line}"})
            for line in (
                'tls_certificate_file = "{public}"',
                'tls_key_file = "{private}"',
                'tls_client_ca_file = "{public}"',
            )
        ),
        ("grpc ", "requires tls_key_file", {"rest": '[grpc]\ntls_key_passphrase_file = "{private}"'}),
        ("issuers.ISSUER0001 ", "tls_key_file", {"rest": '[issuers.ISSUER0001]\ntls_certificate_file = "{public}"'}),
        (
            "issuers.ISSUER0001 ",
            "requires tls_key_file",
            {"rest": '[issuers.ISSUER0001]\ntls_key_passphrase_file = "{private}"'},
        ),
        # Keys and passphrases that others can read.
        ("grpc.tls_key_file ", "must belong to", {"rest": _GRPC_TLS + 'tls_key_file = "{folder}/loose"'}),
        ("edge.oauth.signing_key_file ", "must belong to", {"edge": _OAUTH + 'signing_key_file = "{folder}/loose"'}),
        (
            "grpc.tls_key_passphrase_file ",
            "must belong to",
            {"rest": _GRPC_TLS + 'tls_key_file = "{private}"\n' + _LOOSE},
        ),
        ("edge.tls_key_passphrase_file ", "must belong to", {"edge": _LOOSE}),
        ("d1.tls_key_passphrase_file ", "must belong to", {"d1": _LOOSE}),
        (
            "issuers.ISSUER0001.assertion_keys.1.passphrase_file ",
            "must belong to",
            {"rest": _SECOND_KEY + 'passphrase_file = "{folder}/loose"'},
        ),
        # Two listeners at one port.
        ("settings ({toml}): grpc.port and edge.port are both 8443", "", {"edge": "port = 8443"}),
        ("settings ({toml}): edge.port and admin.port are both 9464", "", {"edge": "port = 9464"}),
        ("settings ({toml}): grpc.port and admin.port are both 8443", "", {"rest": "[admin]\nport = 8443"}),
        ("settings ({toml}): grpc.port and edge.port are both 8443", "", {"edge": 'host = "::"\nport = 8443'}),
        # What the file should not hold.
        ("nope ", "{toml}", {"top": "nope = 1"}),
        ("edge.nope ", "unknown setting", {"edge": "nope = 1"}),
        # What was probably meant: in the same table, in a list below an id, in another table, and a table.
        ("edge.hots ", "did you mean edge.host?", {"edge": 'hots = "::1"'}),
        (
            "issuers.ISSUER0001.assertion_keys.1.pasphrase_file ",
            "did you mean issuers.ISSUER0001.assertion_keys.1.passphrase_file?",
            {"rest": _SECOND_KEY + 'pasphrase_file = "{private}"'},
        ),
        ("edge.signing_key_file ", "did you mean edge.oauth.signing_key_file?", {"edge": _SIGNING_KEY}),
        ("event-log ", "did you mean event_log?", {"rest": '[event-log]\npath = "a"'}),
        ("d1.nope ", "{toml}", {"d1": "nope = 1"}),
        ("issuers.ISSUER0001.d1_encryption_keys.0.nope ", "{toml}", {"rest": "nope = 1"}),
        ("nope ", "{toml}", {"rest": "[nope]\na = 1"}),
    ],
)
def test_what_cannot_be_meant_or_does_not_go_together_is_refused_with_its_place(
    files: Files, place: str, fault: str, lines: dict[str, str]
) -> None:
    files.other("loose", 0o644)

    (mistake,) = files.mistakes(**lines)

    assert mistake.startswith(files.filled(place))
    assert files.filled(fault) in mistake


@pytest.mark.parametrize(
    "setting", ["edge.tls_key_file", "d1.tls_key_file", "issuers.ISSUER0001.assertion_keys.0.file"]
)
@pytest.mark.parametrize("mode", [0o604, 0o660, 0o620, 0o601, 0o644])
def test_a_private_key_that_others_can_reach_is_refused(files: Files, setting: str, mode: int) -> None:
    files.private.chmod(mode)

    assert any(mistake.startswith(f"{setting} ") and "must belong to" in mistake for mistake in files.mistakes())


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_key_of_the_owner_alone_is_taken(files: Files, mode: int) -> None:
    files.private.chmod(mode)

    assert files.load().edge.tls_key_file == files.private


# S104: these are exactly what must not be listened on.
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example", "", "localhost.example"])  # noqa: S104
def test_a_listener_without_tls_beyond_loopback_is_refused(files: Files, host: str) -> None:
    (mistake,) = files.mistakes(rest=f'[grpc]\nhost = "{host}"')

    assert mistake.startswith("grpc ")
    assert "loopback" in mistake


@pytest.mark.parametrize(
    "grpc",
    [
        *(f'[grpc]\nhost = "{host}"' for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        _GRPC_TLS + 'tls_key_file = "{private}"\nhost = "::"',
    ],
)
def test_a_listener_may_be_on_loopback_without_tls_and_anywhere_with_it(files: Files, grpc: str) -> None:
    assert f'host = "{files.load(rest=grpc).grpc.host}"' in grpc


@pytest.mark.parametrize("limit", [{"retention_seconds": 0}, {"retention_bytes": 0}, {"retention_bytes": -1}])
def test_a_retention_of_nothing_is_refused(limit: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(limit))):
        EventLogSettings.model_validate(limit)


@pytest.mark.parametrize(
    ("tokens", "mistake"),
    [
        ("", "set either jwks_file or jwks_url"),
        ('jwks_file = "{public}", jwks_url = "https://b.example"', "set either jwks_file or jwks_url"),
        ('jwks_file = "{public}", jwks_ca_file = "{public}"', "jwks_ca_file requires jwks_url"),
        ('jwks_file = "{public}", algorithms = ["HS256"]', "Input should be"),
        ('jwks_file = "{public}", algorithms = ["none"]', "Input should be"),
    ],
)
def test_tokens_of_callers_have_one_source_and_no_shared_secret(files: Files, tokens: str, mistake: str) -> None:
    table = ", ".join(['issuer = "a"', *filter(None, [tokens.replace("{public}", str(files.public))])])

    assert any(mistake in found for found in mistakes_of(files.write_tokens(table)))


def test_callers_that_cannot_be_known_are_refused_at_the_start(files: Files) -> None:
    (mistake,) = mistakes_of(files.write_changed("tokens = {", "# {"))

    assert "set grpc.tls_client_ca_file or access.tokens" in mistake


@pytest.mark.parametrize("listener", ["grpc", "edge"])
def test_a_port_is_reused_only_by_gateways_that_share_their_storage(
    files: Files, monkeypatch: pytest.MonkeyPatch, listener: str
) -> None:
    monkeypatch.setenv(f"D1_GATEWAY_{listener.upper()}__REUSE_PORT", "true")

    (mistake,) = files.mistakes()

    assert f"{listener}.reuse_port requires [nats]: the embedded event log belongs to one process" in mistake
    shared = files.load(rest='[nats]\nservers = ["nats://127.0.0.1:4222"]')
    assert [shared.grpc.reuse_port, shared.edge.reuse_port].count(True) == 1


@pytest.mark.parametrize(
    ("edge", "rest"),
    [
        ('host = "127.0.0.2"\nport = 8443', ""),
        ('host = "::1"\nport = 8443', ""),
        ("port = 8444", ""),
        ("port = 0", "[admin]\nport = 0"),
    ],
)
def test_two_addresses_or_two_ports_are_two_listeners(files: Files, edge: str, rest: str) -> None:
    assert files.load(edge=edge, rest=rest).edge.host


@pytest.mark.parametrize("network", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33"])
def test_a_proxy_is_where_a_network_is(files: Files, network: str) -> None:
    assert "edge.proxy.networks" in str(files.mistakes(rest=f'[edge.proxy]\nnetworks = ["{network}"]'))


def test_a_proxy_is_known_by_addresses_and_networks(files: Files) -> None:
    proxy = load(files.write(rest='[edge.proxy]\nnetworks = ["10.1.2.3", "fd00::/8"]')).edge.proxy

    assert proxy is not None
    assert [str(network) for network in proxy.networks] == ["10.1.2.3/32", "fd00::/8"]


_OWN_CERTIFICATE = '[issuers.{}]\ntls_certificate_file = "{{public}}"\ntls_key_file = "{{private}}"\n'
_SECOND_ISSUER = """
[[issuers.ISSUER0002.assertion_keys]]
file = "{private}"
kid = "assertion-1"
[[issuers.ISSUER0002.d1_encryption_keys]]
file = "{public}"
kid = "encryption-1"
"""


@pytest.mark.parametrize(
    ("owners", "without"),
    [((), "ISSUER0001, ISSUER0002"), (("ISSUER0001",), "ISSUER0002"), (("ISSUER0002",), "ISSUER0001")],
)
def test_issuers_without_a_client_certificate_are_named(files: Files, owners: tuple[str, ...], without: str) -> None:
    (mistake,) = mistakes_of(without_common_certificate(files, *owners))

    assert mistake.startswith(f"settings ({files.toml}): no client certificate for {without}: set tls_certificate_file")


def test_no_common_client_certificate_is_needed_if_each_issuer_has_its_own(files: Files) -> None:
    assert load(without_common_certificate(files, "ISSUER0001", "ISSUER0002")).d1.tls_certificate_file is None


def without_common_certificate(files: Files, *owners: str) -> Path:
    rest = "".join(_OWN_CERTIFICATE.format(owner) for owner in owners) + _SECOND_ISSUER
    text = files.write(rest=rest).read_text()
    common = files.filled('[d1]\ntls_certificate_file = "{public}"\ntls_key_file = "{private}"\n')
    assert common in text
    files.toml.write_text(text.replace(common, "[d1]\n"))
    return files.toml


_CLIENT = _OAUTH.partition("\n[edge.oauth]\n")[2]
_OWN_CLIENT = "[edge.oauth.clients.{}]\n" + _CLIENT.replace("d1-client", "{}")


@pytest.mark.parametrize(
    ("common", "clients", "mistake"),
    [
        (_CLIENT, _OWN_CLIENT.format("NOBODY0001", "own"), "edge.oauth.clients: no such issuer: NOBODY0001"),
        (_CLIENT, _OWN_CLIENT.format("ISSUER0001", "d1-client"), "clients: duplicate client_id d1-client"),
        ("", "", "edge.oauth: no client for ISSUER0001: set client_id"),
        (_CLIENT.partition("\n")[0] + "\n", "", "set both client_id and client_secret_sha256, or neither"),
        ('scope = "a"\n', _OWN_CLIENT.format("ISSUER0001", "own"), "scope requires client_id"),
        ("", _OWN_CLIENT.format("ISSUER0001", "own:client"), "edge.oauth.clients.ISSUER0001.client_id "),
        ("", _OWN_CLIENT.format("SHORT", "own"), "edge.oauth.clients.SHORT "),
    ],
)
def test_clients_that_leave_an_issuer_without_one_or_do_not_fit_are_refused(
    files: Files, common: str, clients: str, mistake: str
) -> None:
    edge = f"[edge.oauth]\n{common}{_SIGNING_KEY}\n{clients}"

    assert any(mistake in found for found in files.mistakes(edge=edge))


def test_no_common_client_is_needed_if_each_issuer_has_its_own(files: Files) -> None:
    edge = f"[edge.oauth]\n{_SIGNING_KEY}\n" + _OWN_CLIENT.format("ISSUER0001", "own")

    oauth = files.load(edge=edge).edge.oauth

    assert oauth is not None
    assert (oauth.client_id, oauth.clients["ISSUER0001"].client_id) == (None, "own")
