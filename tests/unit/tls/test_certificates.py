"""The certificates of a gateway: renewed while connections live, and watched for their end."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from gateway.settings import Settings, SettingsError, TokenSettings, load
from gateway.tls.certificates import Certificates
from sandbox.common.pki import Identity, Pki, make_pki
from sandbox.gateway import GatewayConfig, write_policy
from tests.unit.auth.auth_pki import LOOPBACK, Authority, Pair

ISSUER = "ISSUER0001"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Used:
    """Settings, and the files that they name."""

    settings: Settings
    pki: Pki
    authority: Authority
    """The one in ``d1.tls_ca_file``."""

    def present(self, pair: Pair) -> None:
        """Replace our certificate for D1."""
        self.pki.gateway_client.certificate.write_bytes(pair.certificate)
        self.pki.gateway_client.key.write_bytes(pair.key)


@pytest.fixture
def used(tmp_path: Path) -> Used:
    pki, authority = make_pki(tmp_path / "keys"), Authority()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.certificate)
    config = GatewayConfig(
        ISSUER,
        replace(pki, server_ca=ca_file),
        "https://127.0.0.1:9",
        tmp_path / "d1-gateway.db",
        write_policy(tmp_path / "policy.toml"),
    )
    file = tmp_path / "d1-gateway.toml"
    file.write_text(config.to_toml())
    return Used(load(file), pki, authority)


def _end(certificate: bytes) -> float:
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


def check_twice(certificates: Certificates) -> None:
    """Let a change be noticed, and read once it has stayed."""
    certificates.file_watcher.check()
    certificates.file_watcher.check()


@asynccontextmanager
async def d1_server(signs: Authority, clients: Authority, folder: Path) -> AsyncIterator[int]:
    """A server that answers every line with the common name of its caller."""
    server = signs.issue(LOOPBACK, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = folder / "server.pem"
    pem.write_bytes(server.certificate + server.key)
    context.load_cert_chain(pem)
    context.load_verify_locations(cadata=clients.certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readline():
                (((_, name),),) = writer.get_extra_info("peercert")["subject"]
                writer.write(f"{name}\n".encode())
        except OSError:
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield int(listening.sockets[0].getsockname()[1])


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Connect to D1; yield what asks it for the common name that it saw."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)

    async def shown_name() -> str:
        writer.write(b"\n")
        async with asyncio.timeout(30):
            return (await reader.readline()).decode().strip()

    try:
        yield shown_name
    finally:
        writer.transport.abort()


async def name_shown_now(port: int, certificates: Certificates, issuer_id: str = ISSUER) -> str:
    """Make a new connection for the common name that D1 sees."""
    async with connected(port, certificates.d1[issuer_id].context) as shown_name:
        return await shown_name()


async def test_what_d1_is_shown_changes_with_its_files_and_connections_keep_theirs(used: Used, tmp_path: Path) -> None:
    ours = Authority("Thales")
    used.present(ours.issue(common_name="TLSMA-old"))
    certificates = Certificates(used.settings)
    async with (
        d1_server(used.authority, ours, tmp_path) as port,
        connected(port, certificates.d1[ISSUER].context) as shown_before,
    ):
        assert await shown_before() == "TLSMA-old"
        used.present(ours.issue(common_name="TLSMA-new"))
        check_twice(certificates)
        assert await name_shown_now(port, certificates) == "TLSMA-new"
        assert await shown_before() == "TLSMA-old"


async def test_whom_the_gateway_trusts_as_d1_changes_with_its_file(used: Used, tmp_path: Path) -> None:
    ours, theirs = Authority("Thales"), Authority("Another CA")
    used.present(ours.issue())
    certificates = Certificates(used.settings)
    async with d1_server(theirs, ours, tmp_path) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await name_shown_now(port, certificates)
        (tmp_path / "ca.pem").write_bytes(theirs.certificate)
        check_twice(certificates)
        assert await name_shown_now(port, certificates) == "someone"
    async with d1_server(used.authority, ours, tmp_path) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await name_shown_now(port, certificates)


async def test_a_key_behind_a_passphrase_is_followed_with_its_passphrase(used: Used, tmp_path: Path) -> None:
    ours = Authority("Thales")
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_bytes(b"first word")
    used.present(encrypted(ours.issue(common_name="TLSMA-old"), b"first word"))
    d1 = used.settings.d1.model_copy(update={"tls_key_passphrase_file": passphrase})
    certificates = Certificates(used.settings.model_copy(update={"d1": d1}))
    async with d1_server(used.authority, ours, tmp_path) as port:
        assert await name_shown_now(port, certificates) == "TLSMA-old"
        used.present(encrypted(ours.issue(common_name="TLSMA-new"), b"second word"))
        check_twice(certificates)
        assert await name_shown_now(port, certificates) == "TLSMA-old"
        passphrase.write_bytes(b"second word")
        check_twice(certificates)
        assert await name_shown_now(port, certificates) == "TLSMA-new"
    assert "d1.tls_key_passphrase_file" not in certificates.expiry_times


def encrypted(pair: Pair, passphrase: bytes) -> Pair:
    key = serialization.load_pem_private_key(pair.key, None)
    encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return replace(pair, key=pem)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_a_broken_file_leaves_the_certificate_that_was(used: Used, tmp_path: Path, content: bytes) -> None:
    ours = Authority("Thales")
    used.present(ours.issue(common_name="TLSMA-old"))
    certificates = Certificates(used.settings)
    before = dict(certificates.expiry_times)
    used.pki.gateway_client.certificate.write_bytes(content)
    with capture_logs() as logged:
        check_twice(certificates)
    assert [entry["log_level"] for entry in logged] == ["error"]
    assert "d1.tls_certificate_file" in logged[0]["mistakes"][0]
    assert str(used.pki.gateway_client.certificate) in logged[0]["files"]
    assert certificates.expiry_times == before
    async with d1_server(used.authority, ours, tmp_path) as port:
        assert await name_shown_now(port, certificates) == "TLSMA-old"


def test_the_certificate_that_d1_is_shown_is_described_without_those_of_its_issuers(used: Used) -> None:
    ours = Authority("Thales")
    old, new = (ours.issue(common_name=name, ends=3 * _DAY) for name in ("TLSMA-old", "TLSMA-4111111111111111"))
    used.present(replace(old, certificate=old.certificate + ours.certificate))
    certificates = Certificates(used.settings)
    assert re.fullmatch(r"CN=TLSMA-old, expires on \d{4}-\d\d-\d\d \d\d:\d\d UTC", certificates.presented("d1"))
    used.present(new)
    check_twice(certificates)
    assert certificates.presented("d1").startswith("CN=TLSMA-****, expires on ")
    assert certificates.presented("threeds") == ""


def test_a_certificate_without_its_key_is_not_taken(used: Used) -> None:
    certificates = Certificates(used.settings)
    used.pki.edge_server.certificate.write_bytes(Authority().issue().certificate)
    with capture_logs() as logged:
        check_twice(certificates)
    assert "key values mismatch" in logged[0]["mistakes"][0]


def test_the_end_of_every_certificate_is_known_by_its_setting_and_follows_the_file(used: Used) -> None:
    certificates = Certificates(used.settings)

    assert set(certificates.expiry_times) == {
        "d1.tls_ca_file",
        "d1.tls_certificate_file",
        "edge.tls_certificate_file",
        "edge.tls_client_ca_file",
        "grpc.tls_certificate_file",
        "grpc.tls_client_ca_file",
    }
    renewed = Authority().issue(ends=400 * _DAY)
    used.present(renewed)
    check_twice(certificates)
    assert certificates.expiry_times["d1.tls_certificate_file"] == renewed.parsed.not_valid_after_utc.timestamp()


def test_the_ca_of_callers_keys_is_followed_too(used: Used) -> None:
    tokens = TokenSettings(
        issuer="https://issuer.example", jwks_url="https://issuer.example/keys", jwks_ca_file=used.pki.caller_ca
    )
    access = used.settings.access.model_copy(update={"tokens": tokens})
    certificates = Certificates(used.settings.model_copy(update={"access": access}))
    renewed = Authority()
    used.pki.caller_ca.write_bytes(renewed.certificate)
    check_twice(certificates)

    assert isinstance(certificates.tokens, ssl.SSLContext)
    assert certificates.expiry_times["access.tokens.jwks_ca_file"] == _end(renewed.certificate)


def test_of_several_certificates_in_a_file_the_first_to_end_counts(used: Used) -> None:
    short, long = (Authority().issue(ends=days * _DAY).certificate for days in (1, 300))
    used.pki.d1_client_ca.write_bytes(long + short)
    certificates = Certificates(used.settings)

    assert certificates.warnings() == []
    assert certificates.expiry_times["edge.tls_client_ca_file"] < certificates.expiry_times["edge.tls_certificate_file"]


@pytest.mark.parametrize(
    ("begins", "ends", "warned"),
    [(-300, 31, False), (-300, 29, True), (-4, 3, False), (-5, 2, True), (-60, 31, False), (-61, 29, True)],
)
def test_what_ends_in_30_days_or_within_the_last_third_of_a_short_life_is_warned_of(
    used: Used, begins: int, ends: int, *, warned: bool
) -> None:
    used.present(Authority().issue(begins=begins * _DAY, ends=ends * _DAY))
    certificates = Certificates(used.settings)

    assert [text.partition(":")[0] for text in certificates.warnings()] == ["d1.tls_certificate_file"] * warned
    assert certificates.expired() == []


def test_an_expired_certificate_of_ours_is_an_error_and_one_of_others_a_warning(used: Used, tmp_path: Path) -> None:
    expired = Authority().issue(begins=-300 * _DAY, ends=-_DAY)
    used.present(expired)
    (tmp_path / "ca.pem").write_bytes(expired.certificate)
    certificates = Certificates(used.settings)

    day = expired.parsed.not_valid_after_utc.strftime("%Y-%m-%d %H:%M UTC")
    assert certificates.expired() == [f"d1.tls_certificate_file: expired on {day}"]
    assert certificates.warnings() == [f"d1.tls_ca_file: expired on {day}"]


async def test_a_gateway_warns_when_it_starts(used: Used) -> None:
    used.present(Authority().issue(begins=-300 * _DAY, ends=-_DAY))
    with capture_logs() as logged:
        async with Certificates(used.settings).watched():
            pass
    assert [(entry["log_level"], entry["event"]) for entry in logged] == [("error", "certificate_expired")]


def test_a_plaintext_listener_has_no_credentials(used: Used) -> None:
    plain = used.settings.model_copy(
        update={"grpc": used.settings.grpc.model_copy(update={"tls_certificate_file": None})}
    )

    assert Certificates(plain).grpc is None


def test_files_that_cannot_be_used_at_the_start_are_refused(used: Used) -> None:
    used.present(replace(Authority().issue(), key=b"garbage"))

    with pytest.raises(SettingsError, match=r"d1\.tls_certificate_file"):
        Certificates(used.settings)


def with_issuers(used: Used, **owned: Identity | None) -> Settings:
    """Settings with further issuers, some with a client certificate of their own."""
    common = used.settings.issuers[ISSUER]
    further = {
        issuer_id: common
        if own is None
        else common.model_copy(update={"tls_certificate_file": own.certificate, "tls_key_file": own.key})
        for issuer_id, own in owned.items()
    }
    return used.settings.model_copy(update={"issuers": {ISSUER: common, **further}})


async def test_each_issuer_shows_d1_its_own_certificate_and_follows_its_own_files(used: Used, tmp_path: Path) -> None:
    ours = Authority("Thales")
    used.present(ours.issue(common_name="TLSMA-common"))
    own = write_pair(tmp_path, "own", ours.issue(common_name="TLSMA-own"))
    certificates = Certificates(with_issuers(used, ISSUER0002=own))
    async with d1_server(used.authority, ours, tmp_path) as port:
        assert await name_shown_now(port, certificates) == "TLSMA-common"
        assert await name_shown_now(port, certificates, "ISSUER0002") == "TLSMA-own"
        write_pair(tmp_path, "own", ours.issue(common_name="TLSMA-renewed"))
        check_twice(certificates)
        assert await name_shown_now(port, certificates) == "TLSMA-common"
        assert await name_shown_now(port, certificates, "ISSUER0002") == "TLSMA-renewed"
    assert certificates.d1["ISSUER0002"].describe().startswith("CN=TLSMA-renewed, expires on ")
    assert certificates.d1[ISSUER].describe().startswith("CN=TLSMA-common, expires on ")
    # The CA of D1 is common, and followed for every issuer.
    theirs = Authority("Another CA")
    (tmp_path / "ca.pem").write_bytes(theirs.certificate)
    check_twice(certificates)
    async with d1_server(theirs, ours, tmp_path) as port:
        assert await name_shown_now(port, certificates, "ISSUER0002") == "TLSMA-renewed"


def test_issuers_with_the_same_files_share_a_certificate(used: Used, tmp_path: Path) -> None:
    own = write_pair(tmp_path, "own", Authority().issue())
    certificates = Certificates(
        with_issuers(used, ISSUER0002=None, ISSUER0003=own, ISSUER0004=own, ISSUER0005=used.pki.gateway_client)
    )

    common, *others = (certificates.d1[f"ISSUER000{number}"] for number in (1, 2, 3, 4, 5))
    assert [other is common for other in others] == [True, False, False, True]
    assert others[1] is others[2]
    assert [common.is_common, others[1].is_common] == [True, False]


def test_the_end_of_an_issuers_own_certificate_is_known_and_warned_of(used: Used, tmp_path: Path) -> None:
    own = write_pair(tmp_path, "own", Authority().issue(begins=-300 * _DAY, ends=29 * _DAY))
    expired = write_pair(tmp_path, "expired", Authority().issue(begins=-300 * _DAY, ends=-_DAY))
    certificates = Certificates(with_issuers(used, ISSUER0002=own, ISSUER0003=expired))

    assert "issuers.ISSUER0002.tls_certificate_file" in certificates.expiry_times
    assert [text.partition(":")[0] for text in certificates.warnings() if "issuers" in text] == [
        "issuers.ISSUER0002.tls_certificate_file"
    ]
    assert [text.partition(":")[0] for text in certificates.expired()] == ["issuers.ISSUER0003.tls_certificate_file"]


def test_an_issuers_own_certificate_that_cannot_be_used_is_refused_with_its_setting(used: Used, tmp_path: Path) -> None:
    own = write_pair(tmp_path, "own", replace(Authority().issue(), key=Authority().issue().key))

    with pytest.raises(SettingsError, match=r"^issuers\.ISSUER0002\.tls_certificate_file, .*key values mismatch"):
        Certificates(with_issuers(used, ISSUER0002=own))


def write_pair(folder: Path, name: str, pair: Pair) -> Identity:
    made = Identity(folder / f"{name}.pem", folder / f"{name}-key.pem")
    made.certificate.write_bytes(pair.certificate)
    made.key.touch(mode=0o600)
    made.key.write_bytes(pair.key)
    return made
