"""The facts about a client certificate that the edge needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["Certificate", "read"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A verified client certificate."""

    names: frozenset[str]
    """Common name and subject alternative names, unmodified; empty if they cannot be parsed."""
    not_before: float
    """Start of validity, in seconds since 1970 (UTC)."""
    not_after: float
    """End of validity, in seconds since 1970 (UTC)."""


def read(certificate: x509.Certificate) -> Certificate:
    """Extract the facts from a certificate."""
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
