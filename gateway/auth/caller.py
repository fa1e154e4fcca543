"""Who calls: found out from the certificate and the token that a call shows.

An identity is a string in one of three forms, told apart by how they begin, so that no kind can pass for another:

- ``spiffe://bank/card-service``: the SPIFFE id of the client certificate, as it stands there;
- ``dns:card-service.bank``: the DNS name of the client certificate, in lower case;
- ``jwt:<sub>``: the subject of the bearer token.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from gateway.auth.client_certificate import Certificate, Certificates
from gateway.auth.errors import Unidentified
from gateway.auth.jwt import TokenVerifier

__all__ = ["AuthContext", "Caller", "Callers", "Metadata"]

AuthContext: TypeAlias = Mapping[str, Iterable[bytes]]
"""What ``grpc.aio.ServicerContext.auth_context()`` returns."""

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
"""What ``grpc.aio.ServicerContext.invocation_metadata()`` returns."""

_CERTIFICATE: Final = "x509_pem_cert"
_AUTHORIZATION: Final = "authorization"
_BEARER: Final = re.compile(r"bearer +([^ ]+)", re.IGNORECASE)
_MOST_SUBJECTS: Final = 1024
_SUBJECT: Final = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    identity: str
    """Its name, in one of the forms that this module's text lists."""
    shown_by: Literal["certificate", "token"]
    """What the name was taken from."""


class Callers:
    """Finds out who calls.

    A token names the caller even where there is a certificate too: the certificate then tells from which machine or
    proxy the call comes, the token on whose behalf. Both must be good; a bad token never falls back to the certificate,
    because the call would then run under another name than its sender meant.
    """

    def __init__(self, tokens: TokenVerifier | None, *, clock: Callable[[], float] = time.time) -> None:
        """Prepare.

        Args:
            tokens: Verifies bearer tokens; None to take none.
            clock: Returns the time in seconds since 1970.
        """
        self._tokens = tokens
        self._certificates = Certificates()
        self._clock = clock

    async def identify(self, auth_context: AuthContext, metadata: Metadata) -> Caller:
        """Find out who calls.

        The certificate must come from a listener that verified it: grpc's, with ``require_client_auth``.

        Raises:
            Unidentified: Nothing is shown, or something that is not good.
        """
        certificate = self._certificate(auth_context)
        token = _token(metadata)
        if token is not None:
            return await self._by_token(token, certificate)
        if certificate is None:
            raise Unidentified("neither a certificate nor a token is shown")
        if certificate.identity is None:
            raise Unidentified("certificate: it names not exactly one SPIFFE id, or else exactly one DNS name")
        return Caller(certificate.identity, "certificate")

    def _certificate(self, auth_context: AuthContext) -> Certificate | None:
        shown = [*auth_context.get(_CERTIFICATE, ())]
        if not shown:
            return None
        if len(shown) > 1:
            raise Unidentified("certificate: there are several")
        certificate = self._certificates.read(shown[0])
        # TLS looked at the dates when the connection was made; a connection may outlive its certificate.
        if not certificate.not_before <= self._clock() <= certificate.not_after:
            raise Unidentified("certificate: it is not valid now")
        return certificate

    async def _by_token(self, token: str, certificate: Certificate | None) -> Caller:
        if self._tokens is None:
            raise Unidentified("token: no tokens are taken here")
        verified = await self._tokens.verify(token)
        bound_to = verified.certificate_thumbprint
        if bound_to is not None and (certificate is None or certificate.thumbprint != bound_to):
            raise Unidentified("token: it is bound to another certificate")
        return _subject(verified.subject)


# A caller calls again and again; what raises is not kept.
@lru_cache(maxsize=_MOST_SUBJECTS)
def _subject(subject: str) -> Caller:
    if _SUBJECT.fullmatch(subject) is None:
        raise Unidentified("token: its sub is no name of 1 to 255 visible ASCII characters")
    return Caller(f"jwt:{subject}", "token")


def _token(metadata: Metadata) -> str | None:
    # gRPC's keys are in lower case (PROTOCOL-HTTP2); grpc refuses others.
    shown = [value for key, value in metadata if key == _AUTHORIZATION]
    if not shown:
        return None
    if len(shown) > 1:
        raise Unidentified("token: there are several authorization headers")
    bearer = _BEARER.fullmatch(shown[0]) if isinstance(shown[0], str) else None
    if bearer is None:
        raise Unidentified("token: the authorization header is not of the form `Bearer <token>`")
    return bearer[1]
