"""The client certificate that a proxy forwards in the header ``Client-Cert`` (RFC 9440)."""

import base64
import binascii
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from gateway.edge.responses import HttpError
from gateway.settings import SettingsError
from gateway.tls.client_certificate import Certificate, read

__all__ = ["HEADERS", "ForwardedCertificates"]

HEADERS: Final = ("Client-Cert", "Client-Cert-Chain")
"""Headers that only a proxy may send. The chain is not read: the CA file must hold all intermediate certificates."""

_MAX_VERIFIED: Final = 64
# A byte sequence of RFC 8941, section 3.3.5: base64 between colons.
_BYTE_SEQUENCE: Final = re.compile(r":([A-Za-z0-9+/]+={0,2}):")


class ForwardedCertificates:
    """Verifies forwarded certificates as TLS would: chain and validity period."""

    def __init__(self, ca_file: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Initialise with the trusted CAs (PEM), which `renew` reads."""
        self._ca_file = ca_file
        self._clock = clock
        self._authorities: list[x509.Certificate] = []
        # A client sends the same certificate with every request: it is verified once, its dates every time.
        self._verified: dict[str, Certificate] = {}

    def renew(self) -> None:
        """Read the CA file; blocks.

        Raises:
            SettingsError: A certificate in the file cannot be read.
        """
        try:
            authorities = x509.load_pem_x509_certificates(self._ca_file.read_bytes())
        except ValueError as error:
            text = f"edge.tls_client_ca_file: {self._ca_file} holds a certificate that cannot be read"
            raise SettingsError([text]) from error
        self._authorities, self._verified = authorities, {}

    def certificate(self, values: Sequence[str]) -> Certificate:
        """Return a request's client certificate.

        Args:
            values: All ``Client-Cert`` headers of the request.

        Raises:
            HttpError: 403 if it is missing or not trusted, 400 if it is malformed or repeated.
        """
        if not values:
            raise HttpError(HTTPStatus.FORBIDDEN, "the proxy sends no client certificate")
        if len(values) > 1:
            raise HttpError(HTTPStatus.BAD_REQUEST, "there is more than one header Client-Cert")
        verified = self._verified
        certificate = verified.get(values[0])
        if certificate is None:
            certificate = self._verify(values[0])
            if len(verified) >= _MAX_VERIFIED:
                verified.clear()
            verified[values[0]] = certificate
        return certificate

    def _verify(self, value: str) -> Certificate:
        try:
            parsed = _parse(value)
        except ValueError as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the header Client-Cert holds no certificate") from error
        try:
            self._verifier().verify(parsed, [])
        except VerificationError as error:
            raise HttpError(HTTPStatus.FORBIDDEN, "the client certificate is not trusted") from error
        except x509.UnsupportedGeneralNameType as error:
            raise HttpError(HTTPStatus.FORBIDDEN, "the client certificate cannot be read") from error
        return read(parsed)

    def _verifier(self) -> ClientVerifier:
        authority = (
            ExtensionPolicy.permit_all()
            .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
            .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
        )
        # Unlike web certificates, the card platform's may have their name in the subject alone. What a client's
        # certificate must not be is checked with that of direct connections.
        client = ExtensionPolicy.permit_all()
        return (
            PolicyBuilder()
            .store(Store(self._authorities))
            .time(datetime.fromtimestamp(self._clock(), UTC))
            .extension_policies(ca_policy=authority, ee_policy=client)
            .build_client_verifier()
        )


def _parse(value: str) -> x509.Certificate:
    encoded = _BYTE_SEQUENCE.fullmatch(value)
    if encoded is None:
        raise ValueError("not a byte sequence")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(encoded[1], validate=True))
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _is_authority(policy: Policy, certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    del policy, certificate
    if not constraints.ca:
        raise ValueError("not a CA certificate")


def _may_sign(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    del policy, certificate
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key may not sign certificates")
