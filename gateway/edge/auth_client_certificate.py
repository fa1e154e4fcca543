"""Authenticates clients by certificate, presented in TLS or forwarded by a proxy."""

import ipaddress
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final, TypeAlias, cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.edge.auth_forwarded_certificate import HEADERS, ForwardedCertificates
from gateway.edge.responses import HttpError
from gateway.edge.server_connection import Connection
from gateway.tls.client_certificate import Certificate

__all__ = ["Clients", "Network", "Proxy", "require_client"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_NAMES_LOGGED: Final = 8


class Proxy:
    """A proxy that terminates the card platform's TLS connections."""

    def __init__(self, networks: Iterable[Network], certificates: ForwardedCertificates) -> None:
        self._networks = tuple(networks)
        self.certificates = certificates

    def is_at(self, address: str) -> bool:
        """Return whether an address is the proxy's."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            # A connection broke before its address was read.
            return False
        return any(peer in network for network in self._networks)


class Clients:
    """Authenticates requests by client certificate."""

    def __init__(
        self, subjects: Iterable[str] = (), proxy: Proxy | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Initialise.

        Args:
            subjects: Accepted names, of which a certificate must have at least one; empty to accept any.
            proxy: The proxy whose forwarded certificates are trusted; None if there is none.
            clock: Time in seconds since 1970.
        """
        self._subjects = frozenset(subjects)
        self._proxy = proxy
        self._clock = clock

    def is_proxy(self, address: str) -> bool:
        """Return whether connections from an address are the proxy's."""
        return self._proxy is not None and self._proxy.is_at(address)

    def knows(self, connection: Connection) -> bool:
        """Return whether a connection's own certificate has an accepted name."""
        try:
            certificate = connection.certificate
        except ValueError:
            return False
        return certificate is not None and self._accepts(certificate)

    def check(self, request: web.Request) -> None:
        """Check a request's client certificate.

        Raises:
            HttpError: 403 if the client is not allowed; 400 for a malformed header.
        """
        certificate = self._certificate(request)
        if certificate.flaw:
            raise HttpError(HTTPStatus.FORBIDDEN, f"the client certificate {certificate.flaw}")
        # TLS checks the dates during the handshake only, and a connection may outlive its certificate.
        if not certificate.not_before <= self._clock() <= certificate.not_after:
            raise HttpError(HTTPStatus.FORBIDDEN, "the client certificate has expired or is not yet valid")
        if not self._accepts(certificate):
            raise HttpError(
                HTTPStatus.FORBIDDEN,
                "the client certificate is not allowed",
                cause=f"edge.tls_client_subjects has none of {sorted(certificate.names)[:_MAX_NAMES_LOGGED]}",
            )

    def _accepts(self, certificate: Certificate) -> bool:
        return not self._subjects or not self._subjects.isdisjoint(certificate.names)

    def _certificate(self, request: web.Request) -> Certificate:
        if self._proxy is not None and self._proxy.is_at(str(request.remote)):
            return self._proxy.certificates.certificate(request.headers.getall(HEADERS[0], []))
        # Rejected, not ignored: the sender tries to impersonate another client, or there is a proxy that is missing
        # from the settings.
        if HEADERS[0] in request.headers or HEADERS[1] in request.headers:
            raise HttpError(HTTPStatus.FORBIDDEN, "the header Client-Cert is accepted from the proxy only")
        try:
            certificate = cast("Connection", request.protocol).certificate
        except ValueError as error:
            raise HttpError(HTTPStatus.FORBIDDEN, "the client certificate cannot be read") from error
        if certificate is None:
            raise HttpError(HTTPStatus.FORBIDDEN, "a client certificate is required")
        return certificate


def require_client(clients: Clients) -> Middleware:
    """Return the middleware that rejects requests from clients that are not allowed."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        clients.check(request)
        return await handler(request)

    return check
