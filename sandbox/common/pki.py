"""Throw-away certificates and keys, as an issuer and D1 exchange them at onboarding."""

import ipaddress
import json
import secrets
import shutil
import ssl
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

__all__ = ["CALLER", "STRANGER", "Identity", "Pki", "kept_pki", "make_pki"]

CALLER = "spiffe://sandbox/caller"
"""An internal service, as its certificate names it."""
STRANGER = "spiffe://sandbox/stranger"
"""Another internal service."""

_LIFETIME = timedelta(days=7)
_KEPT_LIFETIME = timedelta(days=365)
_RENEWED_BEFORE = timedelta(days=30)
"""How long before its end a kept set is replaced: a sandbox may then run for a month."""
_CLOCK_SKEW = timedelta(minutes=5)
_LOOPBACK = x509.SubjectAlternativeName(
    [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
)


_Issued: TypeAlias = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


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

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the files of a folder, whether they exist or not."""

        def identity(name: str) -> Identity:
            return Identity(folder / f"{name}.pem", folder / f"{name}-key.pem")

        return cls(
            server_ca=folder / "server-ca.pem",
            gateway_client_ca=folder / "gateway-client-ca.pem",
            d1_client_ca=folder / "d1-client-ca.pem",
            caller_ca=folder / "caller-ca.pem",
            nats_ca=folder / "nats-ca.pem",
            d1_server=identity("d1-server"),
            threeds_server=identity("threeds-server"),
            grpc_server=identity("grpc-server"),
            edge_server=identity("edge-server"),
            gateway_client=identity("gateway-client"),
            second_gateway_client=identity("second-gateway-client"),
            d1_client=identity("d1-client"),
            nats_server=identity("nats-server"),
            nats_client=identity("nats-client"),
            caller=identity("caller"),
            stranger=identity("stranger"),
            assertion_key=folder / "assertion.jwk.json",
            assertion_public_key=folder / "assertion-public.jwk.json",
            encryption_key=folder / "d1-encryption.jwk.json",
            encryption_public_key=folder / "d1-encryption-public.jwk.json",
            edge_token_key=folder / "edge-token.jwk.json",
        )


class _Authority:
    def __init__(self, name: str, lifetime: timedelta) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        self._lifetime = lifetime
        self.certificate = (
            _builder(self._name, self._name, self._key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self, common_name: str, *purposes: x509.ObjectIdentifier, names: x509.SubjectAlternativeName | None = None
    ) -> _Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_common_name(common_name), self._name, key.public_key(), self._lifetime)
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


def make_pki(folder: Path, lifetime: timedelta = _LIFETIME) -> Pki:
    """Make a new set of certificates and keys. Blocks for some milliseconds.

    Args:
        folder: The target folder, created if missing; an earlier set is replaced. Private files get mode 0600.
        lifetime: How long the certificates are valid.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pki = Pki.of(folder)
    servers, gateway_clients, d1_clients, callers, nats = (
        _Authority(f"Sandbox CA for {whom}", lifetime)
        for whom in ("servers", "the gateway", "D1", "internal services", "NATS")
    )
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    for file, authority in (
        (pki.server_ca, servers),
        (pki.gateway_client_ca, gateway_clients),
        (pki.d1_client_ca, d1_clients),
        (pki.caller_ca, callers),
        (pki.nats_ca, nats),
    ):
        _write_certificate(file, authority.certificate)
    for identity, issued in (
        (pki.d1_server, servers.issue("D1 sandbox", server, names=_LOOPBACK)),
        (pki.threeds_server, servers.issue("3-D Secure server sandbox", server, names=_LOOPBACK)),
        (pki.grpc_server, servers.issue("Gateway gRPC", server, names=_LOOPBACK)),
        (pki.edge_server, servers.issue("Gateway edge", server, names=_LOOPBACK)),
        (pki.gateway_client, gateway_clients.issue("TLSMA-ECDSA/PPR/SANDBOX", client)),
        (pki.second_gateway_client, gateway_clients.issue("TLSMA-ECDSA/PPR/SANDBOX002", client)),
        (pki.d1_client, d1_clients.issue("D1 sandbox client", client)),
        # Within the cluster a server is also a client.
        (pki.nats_server, nats.issue("NATS sandbox", server, client, names=_LOOPBACK)),
        (pki.nats_client, nats.issue("Gateway at NATS", client)),
        (pki.caller, callers.issue("Sandbox caller", client, names=_uri(CALLER))),
        (pki.stranger, callers.issue("Sandbox stranger", client, names=_uri(STRANGER))),
    ):
        _write_identity(identity, issued)
    _write_jwk(pki.assertion_key, pki.assertion_public_key, "assertion", "sig")
    _write_jwk(pki.encryption_key, pki.encryption_public_key, "d1-encryption", "enc")
    _write_jwk(pki.edge_token_key, folder / "edge-token-public.jwk.json", "edge-token", "sig")
    return pki


def kept_pki(folder: Path) -> Pki:
    """Return the set of a folder.

    Makes one that is valid for a year if there is none, if a file is missing or damaged, or if it ends within a month.
    """
    pki = Pki.of(folder)
    if not _is_usable(pki):
        # Whole or not at all, even if this process is killed meanwhile.
        new = folder.with_name(f"{folder.name}.new")
        make_pki(new, _KEPT_LIFETIME)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    return pki


def _is_usable(pki: Pki) -> bool:
    try:
        for part in (getattr(pki, each.name) for each in fields(pki)):
            if isinstance(part, Identity):
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(part.certificate, part.key)
            elif part.suffix == ".json":
                ECKey.import_key(json.loads(part.read_bytes()))
            else:
                x509.load_pem_x509_certificate(part.read_bytes())
    except (OSError, ValueError, JoseError):
        return False
    # All were made at once.
    authority = x509.load_pem_x509_certificate(pki.server_ca.read_bytes())
    return authority.not_valid_after_utc > datetime.now(UTC) + _RENEWED_BEFORE


def _uri(identity: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
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


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_identity(identity: Identity, issued: _Issued) -> None:
    certificate, key = issued
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_certificate(identity.certificate, certificate)
    _write_private(identity.key, pem)


def _write_jwk(private: Path, public: Path, name: str, use: Literal["sig", "enc"]) -> None:
    key = ECKey.generate_key("P-256", {"use": use, "kid": f"{name}-{secrets.token_hex(4)}"})
    public.write_text(json.dumps(key.as_dict(private=False)))
    _write_private(private, json.dumps(key.as_dict(private=True)).encode())


def _write_private(path: Path, content: bytes) -> None:
    # Removed first: an existing file would keep its mode.
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)
