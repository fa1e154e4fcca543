"""What the edge has to know of a client certificate."""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["Certificate", "read"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate that was verified."""

    names: frozenset[str]
    """Its common name and its subject alternative names, as they stand there; none if they cannot be read."""
    not_before: float
    """From when it is valid, in seconds since 1970 (UTC)."""
    not_after: float
    """Until when it is valid, in seconds since 1970 (UTC)."""


def read(certificate: x509.Certificate) -> Certificate:
    """Read a certificate."""
    try:
        names = frozenset(_names(certificate))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        names = frozenset()
    return Certificate(names, certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def _names(certificate: x509.Certificate) -> Iterator[str]:
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        yield str(attribute.value)
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for kind in (x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name):
        yield from alternatives.get_values_for_type(kind)
    for address in alternatives.get_values_for_type(x509.IPAddress):
        yield str(address)
