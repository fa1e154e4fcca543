"""Whether a certificate is a client's, and the facts about it that the edge needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Certificate", "flaw", "read"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A verified client certificate."""

    names: frozenset[str]
    """Common name and subject alternative names, unmodified."""
    flaw: str
    """Why it is not a client's; empty if it is."""
    not_before: float
    """Start of validity, in seconds since 1970 (UTC)."""
    not_after: float
    """End of validity, in seconds since 1970 (UTC)."""


def read(certificate: x509.Certificate) -> Certificate:
    """Extract the facts from a certificate."""
    try:
        names, found = frozenset(_names(certificate)), flaw(certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        names, found = frozenset(), "cannot be read"
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return Certificate(names, found, begin, end)


def flaw(certificate: x509.Certificate) -> str:
    """Return why a certificate is not a client's; empty if it is (RFC 5280 sections 4.2.1.3, 4.2.1.9 and 4.2.1.12).

    TLS lets the certificates of CAs pass for clients', and a forwarded certificate has not been through our TLS.

    Raises:
        ValueError, DuplicateExtension, UnsupportedGeneralNameType: Its extensions are malformed.
    """
    for extension in certificate.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                return "is a CA's"
            case x509.ExtendedKeyUsage() as purposes if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
                return "is not for clients"
            case x509.KeyUsage(digital_signature=False, key_agreement=False):
                return "has a key that does not authenticate clients"
    return ""


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
