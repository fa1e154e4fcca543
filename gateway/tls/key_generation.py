"""Generates an issuer's keys and the signing request for its client certificate, as D1's onboarding requires them."""

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

__all__ = [
    "ENCRYPTION",
    "SIGNING",
    "ClientAlgorithm",
    "ClientKey",
    "Environment",
    "KeyGenerationError",
    "NewFile",
    "Purpose",
    "Subject",
    "environment_of",
    "make_client_key",
    "make_key",
    "pem",
    "private_form",
    "public_jwk",
    "signing_request",
    "write_new",
]

ClientKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""The private key of a client certificate."""

_RSA_BITS = 4096
_RSA_EXPONENT = 65537
_MAX_PASSPHRASE_BYTES = 1023  # OpenSSL's
_RSA_PREFIX = "TLSMA-RSA/"
_ANY_PREFIX = "TLSMA-"
_COUNTRY = re.compile(r"[A-Z]{2}")
_PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "use", "alg", "kid")
_KID = re.compile(r"[!-~]+")
_ENVIRONMENT = re.compile(r"(?<![A-Za-z0-9])(PPR|PRD)(?![A-Za-z0-9])")


class KeyGenerationError(Exception):
    """The request is invalid. The text is a single line without secrets."""


class ClientAlgorithm(StrEnum):
    """Algorithms for the key of a client certificate (D1 API: set up TLS mutual authentication)."""

    RSA = "rsa"
    """RSA, 4096 bits."""
    ECDSA = "ecdsa"
    """ECDSA on P-256."""


class Environment(StrEnum):
    """A D1 environment, by its code in a common name. Each has its own keys and certificate."""

    PREPROD = "PPR"
    PRODUCTION = "PRD"


@dataclass(frozen=True, slots=True)
class Purpose:
    """Purpose of a key on P-256, as in a JWK (RFC 7517 section 4)."""

    use: Literal["sig", "enc"]
    algorithm: str


SIGNING = Purpose("sig", "ES256")
"""For a key that signs assertions to D1, or tokens issued to D1."""
ENCRYPTION = Purpose("enc", "ECDH-ES")
"""For a key whose public half D1 uses to encrypt card data for the issuer."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Subject of a signing request (RFC 2986), with the lengths of RFC 5280.

    D1 enforces the common name (D1 API: set up TLS mutual authentication). Known of its pattern: with an RSA key it
    starts with ``TLSMA-RSA/``, and the rest names the issuer id and the environment, ``PPR`` or ``PRD``. Assumed: with
    an ECDSA key it starts with ``TLSMA-`` but not with RSA's prefix; no letter or digit adjoins the environment's code.
    The order of the parts, and whether there are more, is unknown, so the name is used as Thales provides it and only
    these points are checked. The other attributes are in D1's example; none is known to be enforced.

    Raises:
        KeyGenerationError: X.509 cannot hold an attribute.
    """

    common_name: str
    country: str | None = None
    """Two capital letters (ISO 3166-1)."""
    state: str | None = None
    locality: str | None = None
    organization: str | None = None
    organization_unit: str | None = None

    def __post_init__(self) -> None:
        """Reject invalid attributes before a key is generated."""
        if self.country is not None and not _COUNTRY.fullmatch(self.country):
            raise KeyGenerationError("the country must be two capital letters")
        for name, value, max_length in (
            ("state", self.state, 128),
            ("locality", self.locality, 128),
            ("organization", self.organization, 64),
            ("organization unit", self.organization_unit, 64),
            ("common name", self.common_name, 64),
        ):
            if value is not None and not (
                value.isprintable() and value == value.strip() and 1 <= len(value) <= max_length
            ):
                raise KeyGenerationError(
                    f"the {name} must be 1 to {max_length} printable characters, without surrounding spaces"
                )

    @property
    def name(self) -> x509.Name:
        """The subject as an X.509 name, in the order of D1's example."""
        attributes = {
            NameOID.COUNTRY_NAME: self.country,
            NameOID.STATE_OR_PROVINCE_NAME: self.state,
            NameOID.LOCALITY_NAME: self.locality,
            NameOID.ORGANIZATION_NAME: self.organization,
            NameOID.ORGANIZATIONAL_UNIT_NAME: self.organization_unit,
            NameOID.COMMON_NAME: self.common_name,
        }
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes.items() if value is not None])


@dataclass(frozen=True, slots=True, repr=False)
class NewFile:
    """A file to write. The repr is Python's default, because the content may be private."""

    path: Path
    content: bytes
    private: bool
    """Whether only its owner may read the file."""


def make_key(purpose: Purpose, kid: str | None = None) -> ECKey:
    """Generate a key on P-256.

    Args:
        purpose: Purpose of the key.
        kid: Id by which the other side knows the key; None for its thumbprint (RFC 7638).

    Raises:
        KeyGenerationError: The kid contains other than visible ASCII characters.
    """
    if kid is not None and not _KID.fullmatch(kid):
        raise KeyGenerationError("the kid must be one or more visible ASCII characters, without spaces")
    key = ECKey.generate_key("P-256")
    described = key.as_dict(private=True, use=purpose.use, alg=purpose.algorithm, kid=kid or key.thumbprint())
    return ECKey.import_key(described)


def private_form(key: ECKey, passphrase: bytes | None) -> bytes:
    """Serialise a whole key: as JWK, or as encrypted PEM because a JWK file cannot be encrypted.

    Raises:
        KeyGenerationError: The passphrase is too long to be used again.
        ValueError: The key has no private half.
    """
    if key.private_key is None:
        raise ValueError("the key has no private half")
    return orjson.dumps(key.as_dict(private=True)) if passphrase is None else pem(key.private_key, passphrase)


def public_jwk(key: ECKey) -> bytes:
    """Serialise the public half of a key as JWK, with the thumbprint as kid if it has none."""
    members = {"kid": key.thumbprint(), **key.as_dict(private=False)}
    # Only members known to be public: a JWK may hold any others.
    return orjson.dumps({member: members[member] for member in _PUBLIC_MEMBERS if member in members})


def pem(key: ClientKey, passphrase: bytes | None) -> bytes:
    """Serialise a private key as PKCS#8 PEM (RFC 5958), encrypted if a passphrase is given.

    Raises:
        KeyGenerationError: The passphrase is too long to be used again.
    """
    if passphrase is not None and len(passphrase) > _MAX_PASSPHRASE_BYTES:
        raise KeyGenerationError(f"the passphrase is longer than {_MAX_PASSPHRASE_BYTES} bytes")
    encryption = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def make_client_key(algorithm: ClientAlgorithm) -> ClientKey:
    """Generate the key of a client certificate. RSA takes seconds."""
    if algorithm is ClientAlgorithm.RSA:
        return rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def environment_of(common_name: str, algorithm: ClientAlgorithm) -> Environment:
    """Check a common name against D1's pattern as far as known, and return its environment.

    Raises:
        KeyGenerationError: D1 would reject the name, see `Subject`.
    """
    rsa_name = common_name.startswith(_RSA_PREFIX)
    if algorithm is ClientAlgorithm.RSA and not rsa_name:
        raise KeyGenerationError(f"the common name of an RSA key must start with {_RSA_PREFIX}")
    if algorithm is ClientAlgorithm.ECDSA and (rsa_name or not common_name.startswith(_ANY_PREFIX)):
        raise KeyGenerationError(
            f"the common name of an ECDSA key must start with {_ANY_PREFIX}, but not {_RSA_PREFIX}"
        )
    codes = set(_ENVIRONMENT.findall(common_name))
    if len(codes) != 1:
        raise KeyGenerationError("the common name must name one environment: PPR (PreProd) or PRD (Production)")
    return Environment(codes.pop())


def signing_request(key: ClientKey, subject: Subject) -> x509.CertificateSigningRequest:
    """Create a signing request: PKCS#10 (RFC 2986), signed with SHA-256."""
    return x509.CertificateSigningRequestBuilder().subject_name(subject.name).sign(key, hashes.SHA256())


def write_new(*files: NewFile) -> None:
    """Write new files durably: all of them, or none.

    Raises:
        FileExistsError: A file exists already; it stays unchanged.
        OSError: A file cannot be written.
    """
    written: list[Path] = []
    try:
        for file in files:
            mode = 0o600 if file.private else 0o644
            descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            written.append(file.path)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(file.content)
                stream.flush()
                os.fsync(descriptor)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
