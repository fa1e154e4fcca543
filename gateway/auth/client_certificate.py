"""The name in a client certificate (RFC 5280 section 4.2.1.6; SPIFFE X.509-SVID section 2)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.auth.errors import Unidentified
from gateway.auth.jose import base64url

__all__ = ["Certificate", "Certificates"]

_MOST_READ = 1024
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)+")
_LONGEST_SPIFFE = 2048
_DNS: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the gateway has to know of a client certificate."""

    identity: str | None
    """The caller that it names (see `gateway.auth.caller`); None if it does not name exactly one."""
    not_before: float
    """From when it is valid, in seconds since 1970 (UTC)."""
    not_after: float
    """Until when it is valid, in seconds since 1970 (UTC)."""
    thumbprint: str
    """SHA-256 of its DER form, in base64url: ``x5t#S256`` (RFC 8705 section 3.1)."""


class Certificates:
    """Reads certificates, each one once."""

    def __init__(self) -> None:
        self._read: dict[bytes, Certificate] = {}

    def read(self, pem: bytes) -> Certificate:
        """Read a certificate that TLS has verified.

        Raises:
            Unidentified: It cannot be read.
        """
        certificate = self._read.get(pem)
        if certificate is None:
            try:
                certificate = _certificate(x509.load_pem_x509_certificate(pem))
            except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
                raise Unidentified("certificate: it cannot be read") from error
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            self._read[pem] = certificate
        return certificate


def _certificate(parsed: x509.Certificate) -> Certificate:
    return Certificate(
        identity=_identity(parsed),
        not_before=parsed.not_valid_before_utc.timestamp(),
        not_after=parsed.not_valid_after_utc.timestamp(),
        thumbprint=base64url(parsed.fingerprint(hashes.SHA256())),
    )


def _identity(parsed: x509.Certificate) -> str | None:
    # The common name is passed over: what it says has no kind, and RFC 9525 section 2 takes names from here alone.
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
    return uri if len(uri) <= _LONGEST_SPIFFE and _SPIFFE.fullmatch(uri) is not None else None


def _dns(name: str) -> str | None:
    name = name.lower()
    return f"dns:{name}" if _DNS.fullmatch(name) is not None else None
