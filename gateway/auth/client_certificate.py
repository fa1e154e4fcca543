"""The caller's name in a client certificate (RFC 5280 section 4.2.1.6; SPIFFE X.509-SVID section 2)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.auth.errors import InvalidCertificate
from gateway.auth.jose import base64url
from gateway.tls.client_certificate import flaw

__all__ = ["Certificate", "Certificates"]

_MAX_CACHED = 1024
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)+")
_MAX_SPIFFE_LENGTH = 2048
_DNS: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The facts that the gateway needs about a client certificate."""

    identity: str | None
    """The caller's identity (see `gateway.auth.caller`); None unless the certificate names exactly one."""
    not_before: float
    """The begin of its validity, in seconds since 1970 (UTC)."""
    not_after: float
    """The end of its validity, in seconds since 1970 (UTC)."""
    thumbprint: str
    """The SHA-256 digest of its DER form, in base64url: ``x5t#S256`` (RFC 8705 section 3.1)."""


class Certificates:
    """Parses certificates, and caches the results."""

    def __init__(self) -> None:
        self._cached: dict[bytes, Certificate] = {}

    def read(self, pem: bytes) -> Certificate:
        """Parse a certificate that TLS has verified.

        Raises:
            InvalidCertificate: The certificate is malformed, or not a client's.
        """
        certificate = self._cached.get(pem)
        if certificate is None:
            try:
                parsed = x509.load_pem_x509_certificate(pem)
                found, certificate = flaw(parsed), _certificate(parsed)
            except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
                raise InvalidCertificate("malformed") from error
            if found:
                raise InvalidCertificate(found, f"The client certificate {found}: present one of a client's own.")
            if len(self._cached) >= _MAX_CACHED:
                self._cached.clear()
            self._cached[pem] = certificate
        return certificate


def _certificate(parsed: x509.Certificate) -> Certificate:
    return Certificate(
        identity=_identity(parsed),
        not_before=parsed.not_valid_before_utc.timestamp(),
        not_after=parsed.not_valid_after_utc.timestamp(),
        thumbprint=base64url(parsed.fingerprint(hashes.SHA256())),
    )


def _identity(parsed: x509.Certificate) -> str | None:
    # The common name is ignored: it has no type, and RFC 9525 section 2 takes names from here alone.
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    spiffe_ids = [uri for uri in uris if uri.lower().startswith("spiffe:")]
    if spiffe_ids:
        return _only(_spiffe_id(each) for each in spiffe_ids)
    return _only(_dns(each) for each in names.get_values_for_type(x509.DNSName))


def _only(names: Iterable[str | None]) -> str | None:
    found = {*names}
    return found.pop() if len(found) == 1 else None


def _spiffe_id(uri: str) -> str | None:
    return uri if len(uri) <= _MAX_SPIFFE_LENGTH and _SPIFFE.fullmatch(uri) is not None else None


def _dns(name: str) -> str | None:
    name = name.lower()
    return f"dns:{name}" if _DNS.fullmatch(name) is not None else None
