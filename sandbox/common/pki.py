"""Throw-away certificates and keys, as an issuer and D1 exchange them at onboarding."""

import ipaddress
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc.jwk import ECKey

__all__ = ["CALLER", "STRANGER", "Identity", "Pki", "make_pki"]

CALLER = "spiffe://sandbox/caller"
"""An internal service, as its certificate names it."""
STRANGER = "spiffe://sandbox/stranger"
"""Another internal service."""

_LIFETIME = timedelta(days=7)
_CLOCK_SKEW = timedelta(minutes=5)
_LOOPBACK = x509.SubjectAlternativeName(
    [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """The files of one set of certificates and keys. Each authority signs for one purpose; its key is discarded."""

    server_ca: Path
    """The CA of servers: D1, the 3-D Secure server, the gateway's gRPC port and edge."""
    gateway_client_ca: Path
    """The CA that D1 trusts for its clients."""
    d1_client_ca: Path
    """The CA that the gateway's edge trusts for its clients."""
    caller_ca: Path
    """The CA that the gateway's gRPC port trusts for its clients."""
    nats_ca: Path
    """The CA of NATS servers and their clients."""
    d1_server: Identity
    threeds_server: Identity
    grpc_server: Identity
    edge_server: Identity
    gateway_client: Identity
    """The gateway's client certificate at D1: ECDSA P-256, its common name starting with ``TLSMA-``."""
    second_gateway_client: Identity
    """Another client certificate of the gateway at D1, of a second issuer."""
    d1_client: Identity
    """D1's client certificate at the gateway's edge."""
    nats_server: Identity
    """A NATS server's certificate, for its clients and for the other servers of its cluster."""
    nats_client: Identity
    """The gateway's client certificate at NATS."""
    caller: Identity
    """An internal service's client certificate at the gateway's gRPC port: `CALLER`."""
    stranger: Identity
    """As `caller`, for a service without grants: `STRANGER`."""
    assertion_key: Path
    """The gateway's first key for token assertions: a private JWK (ES256) with its ``kid``."""
    assertion_public_key: Path
    """The public JWK of `assertion_key`, for D1."""
    encryption_key: Path
    """D1's first key for card data: a private JWK (P-256) with its ``kid``."""
    encryption_public_key: Path
    """The public JWK of that key, for the gateway."""
    edge_token_key: Path
    """The edge's signing key for the tokens it issues to D1: a private JWK (ES256)."""


class _Authority:
    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        self.certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self, common_name: str, *purposes: x509.ObjectIdentifier, names: x509.SubjectAlternativeName | None = None
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_common_name(common_name), self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()), key


def make_pki(folder: Path) -> Pki:
    """Make a new set of certificates and keys, valid for 7 days. Blocks for some milliseconds.

    Args:
        folder: The target folder, created if missing; an earlier set is replaced. Private files get mode 0600.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    servers, gateway_clients, d1_clients, callers, nats = (
        _Authority(f"Sandbox CA for {whom}") for whom in ("servers", "the gateway", "D1", "internal services", "NATS")
    )
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    assertion_key, assertion_public_key = _write_jwk(folder, "assertion", "sig")
    encryption_key, encryption_public_key = _write_jwk(folder, "d1-encryption", "enc")
    edge_token_key, _ = _write_jwk(folder, "edge-token", "sig")
    return Pki(
        server_ca=_write_certificate(folder / "server-ca.pem", servers.certificate),
        gateway_client_ca=_write_certificate(folder / "gateway-client-ca.pem", gateway_clients.certificate),
        d1_client_ca=_write_certificate(folder / "d1-client-ca.pem", d1_clients.certificate),
        caller_ca=_write_certificate(folder / "caller-ca.pem", callers.certificate),
        nats_ca=_write_certificate(folder / "nats-ca.pem", nats.certificate),
        d1_server=_write_identity(folder, "d1-server", servers.issue("D1 sandbox", server, names=_LOOPBACK)),
        threeds_server=_write_identity(
            folder, "threeds-server", servers.issue("3-D Secure server sandbox", server, names=_LOOPBACK)
        ),
        grpc_server=_write_identity(folder, "grpc-server", servers.issue("Gateway gRPC", server, names=_LOOPBACK)),
        edge_server=_write_identity(folder, "edge-server", servers.issue("Gateway edge", server, names=_LOOPBACK)),
        gateway_client=_write_identity(
            folder, "gateway-client", gateway_clients.issue("TLSMA-ECDSA/PPR/SANDBOX", client)
        ),
        second_gateway_client=_write_identity(
            folder, "second-gateway-client", gateway_clients.issue("TLSMA-ECDSA/PPR/SANDBOX002", client)
        ),
        d1_client=_write_identity(folder, "d1-client", d1_clients.issue("D1 sandbox client", client)),
        # Within the cluster a server is also a client.
        nats_server=_write_identity(folder, "nats-server", nats.issue("NATS sandbox", server, client, names=_LOOPBACK)),
        nats_client=_write_identity(folder, "nats-client", nats.issue("Gateway at NATS", client)),
        caller=_write_identity(folder, "caller", callers.issue("Sandbox caller", client, names=_uri(CALLER))),
        stranger=_write_identity(folder, "stranger", callers.issue("Sandbox stranger", client, names=_uri(STRANGER))),
        assertion_key=assertion_key,
        assertion_public_key=assertion_public_key,
        encryption_key=encryption_key,
        encryption_public_key=encryption_public_key,
        edge_token_key=edge_token_key,
    )


def _uri(identity: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_certificate(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _write_identity(folder: Path, name: str, issued: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> Identity:
    certificate, key = issued
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Identity(
        certificate=_write_certificate(folder / f"{name}.pem", certificate),
        key=_write_private(folder / f"{name}-key.pem", pem),
    )


def _write_jwk(folder: Path, name: str, use: Literal["sig", "enc"]) -> tuple[Path, Path]:
    key = ECKey.generate_key("P-256", {"use": use, "kid": f"{name}-{secrets.token_hex(4)}"})
    public = folder / f"{name}-public.jwk.json"
    public.write_text(json.dumps(key.as_dict(private=False)))
    private = _write_private(folder / f"{name}.jwk.json", json.dumps(key.as_dict(private=True)).encode())
    return private, public


def _write_private(path: Path, content: bytes) -> Path:
    # Removed first: an existing file would keep its mode.
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)
    return path
