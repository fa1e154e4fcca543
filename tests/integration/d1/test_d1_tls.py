"""Mutual TLS with certificates made for the test."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import GatewayError
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.integration.d1.fake_d1 import CREATE, SUSPEND, call, cards_at, running_d1


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, whose files are written below a folder."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def found(cls, folder: Path, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _draft(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(folder, name, key, certificate)

    @property
    def file(self) -> Path:
        path = self.folder / f"{self.name}.pem"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(self, name: str) -> Path:
        """Issue a certificate for 127.0.0.1, in one file with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _draft(subject, self.certificate.subject, key)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        path = self.folder / f"{name}-by-{self.name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.found(tmp_path, "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority.found(tmp_path, "stranger")


def server_tls(trusted: Authority, certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trusted.file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate)
    return context


def client_tls(trusted: Authority, certificate: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trusted.file)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


async def test_a_call_goes_through_mutual_tls(authority: Authority) -> None:
    async with (
        running_d1(server_tls(authority, authority.issue("d1"))) as d1,
        cards_at(d1.url, client_tls(authority, authority.issue("issuer"))) as cards,
    ):
        response = await cards.create_card(CREATE, call())

        assert response == card.CreateCardResponse(card_id="crd_1")
        assert d1.url.startswith("https://")


async def test_a_d1_whose_certificate_nobody_trusts_gets_nothing(authority: Authority, stranger: Authority) -> None:
    async with (
        running_d1(server_tls(authority, stranger.issue("d1"))) as d1,
        cards_at(d1.url, client_tls(authority, authority.issue("issuer"))) as cards,
    ):
        with pytest.raises(GatewayError) as caught:
            await cards.suspend_card(SUSPEND, call())

        assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
        assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
        assert caught.value.retry_after_seconds == 1
        assert "its certificate is not trusted (unable to get local issuer certificate)" in caught.value.message
        assert d1.token_calls == []


async def test_without_a_client_certificate_that_d1_trusts_nothing_is_sent(
    authority: Authority, stranger: Authority
) -> None:
    for certificate in (None, stranger.issue("issuer")):
        async with (
            running_d1(server_tls(authority, authority.issue("d1"))) as d1,
            cards_at(d1.url, client_tls(authority, certificate)) as cards,
        ):
            with pytest.raises(GatewayError) as caught:
                await cards.suspend_card(SUSPEND, call())

            assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
            assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
            assert d1.token_calls == []
