"""The client certificate that a proxy hands on, in the header ``Client-Cert`` (RFC 9440)."""

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
from cryptography.x509.oid import ExtendedKeyUsageOID
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
"""What only a proxy may send. The chain is not read: the CA file has to lead to D1's certificate by itself."""

_MOST_VERIFIED: Final = 64
# A byte sequence of RFC 8941, section 3.3.5: base64 between colons.
_BYTE_SEQUENCE: Final = re.compile(r":([A-Za-z0-9+/]+={0,2}):")


class ForwardedCertificates:
    """Verifies the certificates that a proxy hands on as TLS would: their authority, their time, their use."""

    def __init__(self, ca_file: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Prepare; `renew` reads the file.

        Args:
            ca_file: The authorities that are trusted, PEM.
            clock: Returns the time in seconds since 1970.
        """
        self._ca_file = ca_file
        self._clock = clock
        self._authorities: list[x509.Certificate] = []
        # One client shows one certificate with all its requests: it is verified once, its dates every time.
        self._verified: dict[str, Certificate] = {}

    def renew(self) -> None:
        """Read the file; blocks.

        Raises:
            SettingsError: It holds no certificates that can be read.
        """
        try:
            authorities = x509.load_pem_x509_certificates(self._ca_file.read_bytes())
        except ValueError as error:
            text = f"edge.tls_client_ca_file: {self._ca_file} holds a certificate that cannot be read"
            raise SettingsError([text]) from error
        self._authorities, self._verified = authorities, {}

    def certificate(self, values: Sequence[str]) -> Certificate:
        """Tell whose certificate a request shows.

        Args:
            values: All headers ``Client-Cert`` of the request.

        Raises:
            HttpError: 403 if there is none or it is not trusted, 400 if it cannot be read or there are several.
        """
        if not values:
            raise HttpError(HTTPStatus.FORBIDDEN, "the proxy shows no client certificate")
        if len(values) > 1:
            raise HttpError(HTTPStatus.BAD_REQUEST, "there is more than one header Client-Cert")
        verified = self._verified
        certificate = verified.get(values[0])
        if certificate is None:
            certificate = self._verify(values[0])
            if len(verified) >= _MOST_VERIFIED:
                verified.clear()
            verified[values[0]] = certificate
        return certificate

    def _verify(self, value: str) -> Certificate:
        try:
            shown = _parse(value)
        except ValueError as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the header Client-Cert holds no certificate") from error
        try:
            self._verifier().verify(shown, [])
        except VerificationError as error:
            raise HttpError(HTTPStatus.FORBIDDEN, "the client certificate is not trusted") from error
        return read(shown)

    def _verifier(self) -> ClientVerifier:
        authority = (
            ExtensionPolicy.permit_all()
            .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
            .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
        )
        # D1's certificates are not those of the web: their name may stand in the subject alone.
        client = ExtensionPolicy.permit_all().may_be_present(
            x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_clients
        )
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
        raise ValueError("it is no byte sequence")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(encoded[1], validate=True))
    except binascii.Error as error:
        raise ValueError("it is no base64") from error


def _is_authority(policy: Policy, certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    del policy, certificate
    if not constraints.ca:
        raise ValueError("it is no authority")


def _may_sign(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    del policy, certificate
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("its key may not sign certificates")


def _is_for_clients(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    del policy, certificate
    if usage is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise ValueError("it is not for clients")
