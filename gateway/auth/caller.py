"""The caller of an rpc, identified by its client certificate and bearer token.

An identity is a string in one of three forms. They begin differently, so that no kind can pass for another:

- ``spiffe://bank/card-service``: the SPIFFE id of the client certificate, unchanged;
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
from gateway.auth.errors import InvalidCertificate, InvalidToken, Unidentified
from gateway.auth.jwt import TokenVerifier

__all__ = ["AuthContext", "Caller", "Callers", "Metadata"]

AuthContext: TypeAlias = Mapping[str, Iterable[bytes]]
"""The type of ``grpc.aio.ServicerContext.auth_context()``."""

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
"""The type of ``grpc.aio.ServicerContext.invocation_metadata()``."""

_CERTIFICATE: Final = "x509_pem_cert"
_AUTHORIZATION: Final = "authorization"
_BEARER: Final = re.compile(r"bearer +([^ ]+)", re.IGNORECASE)
_MAX_SUBJECTS: Final = 1024
_SUBJECT: Final = re.compile(r"[!-~]{1,255}")

_NAMELESS: Final = (
    "The client certificate identifies nobody: its SANs must have exactly one SPIFFE id, or else exactly one DNS name."
)
_NOT_VALID: Final = "The client certificate is not valid now: renew it, and connect again."
_NO_TOKENS: Final = "This gateway accepts no bearer tokens: leave the metadata `authorization` out."
_BOUND: Final = "The bearer token is bound to another client certificate than the one of this connection."
_HEADER: Final = "The metadata `authorization` must be there once, and be `Bearer <JWT>`."


@dataclass(frozen=True, slots=True)
class Caller:
    """An identified caller."""

    identity: str
    """The name, in one of the forms that the module lists."""
    shown_by: Literal["certificate", "token"]
    """The source of the name."""


class Callers:
    """Identifies callers.

    A token takes precedence over a certificate: the certificate then identifies the machine or proxy that sends the
    call, the token on whose behalf. Both must be valid. An invalid token never falls back to the certificate, because
    the call would then run under another name than its sender meant.
    """

    def __init__(self, tokens: TokenVerifier | None, *, clock: Callable[[], float] = time.time) -> None:
        """Prepare the checks.

        Args:
            tokens: Verifies bearer tokens; None to accept none.
            clock: Returns the time in seconds since 1970.
        """
        self._tokens = tokens
        self._certificates = Certificates()
        self._clock = clock

    async def identify(self, auth_context: AuthContext, metadata: Metadata) -> Caller:
        """Identify the caller.

        The certificate must come from a listener that verified it: grpc's, with ``require_client_auth``.

        Raises:
            Unidentified: The caller presented no credentials, or invalid ones.
        """
        certificate = self._certificate(auth_context)
        token = _token(metadata)
        if token is not None:
            return await self._by_token(token, certificate)
        if certificate is None:
            raise Unidentified(
                "neither a certificate nor a token",
                "No credentials: present a client certificate."
                if self._tokens is None
                else "No credentials: send a bearer token, as metadata `authorization: Bearer <JWT>`.",
            )
        if certificate.identity is None:
            raise InvalidCertificate("must name exactly one SPIFFE id, or else exactly one DNS name", _NAMELESS)
        return Caller(certificate.identity, "certificate")

    def _certificate(self, auth_context: AuthContext) -> Certificate | None:
        certificates = [*auth_context.get(_CERTIFICATE, ())]
        if not certificates:
            return None
        if len(certificates) > 1:
            raise InvalidCertificate("there are several")
        certificate = self._certificates.read(certificates[0])
        # TLS checked the dates when the connection was made; a connection may outlive its certificate.
        if not certificate.not_before <= self._clock() <= certificate.not_after:
            raise InvalidCertificate("not valid now", _NOT_VALID)
        return certificate

    async def _by_token(self, token: str, certificate: Certificate | None) -> Caller:
        if self._tokens is None:
            raise InvalidToken("no tokens are accepted", _NO_TOKENS)
        verified = await self._tokens.verify(token)
        bound_to = verified.certificate_thumbprint
        if bound_to is not None and (certificate is None or certificate.thumbprint != bound_to):
            raise InvalidToken("bound to another certificate", _BOUND)
        return _subject(verified.subject)


# Cached, because a caller sends many calls; exceptions are not cached.
@lru_cache(maxsize=_MAX_SUBJECTS)
def _subject(subject: str) -> Caller:
    if _SUBJECT.fullmatch(subject) is None:
        raise InvalidToken("sub must have 1 to 255 visible ASCII characters")
    return Caller(f"jwt:{subject}", "token")


def _token(metadata: Metadata) -> str | None:
    # gRPC's metadata keys are in lower case (PROTOCOL-HTTP2); grpc rejects others.
    headers = [value for key, value in metadata if key == _AUTHORIZATION]
    if not headers:
        return None
    if len(headers) > 1:
        raise InvalidToken("there are several authorization headers", _HEADER)
    bearer = _BEARER.fullmatch(headers[0]) if isinstance(headers[0], str) else None
    if bearer is None:
        raise InvalidToken("the authorization header must be `Bearer <token>`", _HEADER)
    return bearer[1]
