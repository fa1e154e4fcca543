"""Which clients may call at all: by their certificate, shown in TLS or handed on by a proxy."""

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

_MOST_NAMES_LOGGED: Final = 8


class Proxy:
    """A proxy that ends D1's TLS connections."""

    def __init__(self, networks: Iterable[Network], certificates: ForwardedCertificates) -> None:
        """Prepare.

        Args:
            networks: Where it connects from.
            certificates: Verifies those that it hands on.
        """
        self._networks = tuple(networks)
        self.certificates = certificates

    def sent(self, request: web.Request) -> bool:
        """Tell whether a request comes from it."""
        try:
            peer = ipaddress.ip_address(str(request.remote))
        except ValueError:
            # The connection broke before its address could be asked for.
            return False
        return any(peer in network for network in self._networks)


class Clients:
    """Tells whether a request may be served, whatever it asks for."""

    def __init__(
        self, subjects: Iterable[str] = (), proxy: Proxy | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Prepare.

        Args:
            subjects: The names of which a client's certificate has to bear one; empty for any certificate.
            proxy: Whose word on certificates is taken; None if there is none.
            clock: Returns the time in seconds since 1970.
        """
        self._subjects = frozenset(subjects)
        self._proxy = proxy
        self._clock = clock

    def check(self, request: web.Request) -> None:
        """Let a request pass.

        Raises:
            HttpError: 403 or 400; its client may not call.
        """
        certificate = self._certificate(request)
        # TLS looked at the dates when the connection was made, and a connection may outlive its certificate.
        if not certificate.not_before <= self._clock() <= certificate.not_after:
            raise HttpError(HTTPStatus.FORBIDDEN, "the client certificate is not valid now")
        if self._subjects and self._subjects.isdisjoint(certificate.names):
            raise HttpError(
                HTTPStatus.FORBIDDEN,
                "the client certificate is not one of those that may call",
                cause=f"edge.tls_client_subjects has none of {sorted(certificate.names)[:_MOST_NAMES_LOGGED]}",
            )

    def _certificate(self, request: web.Request) -> Certificate:
        if self._proxy is not None and self._proxy.sent(request):
            return self._proxy.certificates.certificate(request.headers.getall(HEADERS[0], []))
        # Refused and not just passed over: who sends it means to be taken for another, or there is a proxy that
        # nobody has told the gateway of.
        if any(name in request.headers for name in HEADERS):
            raise HttpError(HTTPStatus.FORBIDDEN, "the header Client-Cert is taken from the proxy alone")
        try:
            certificate = cast("Connection", request.protocol).certificate
        except ValueError as error:
            raise HttpError(HTTPStatus.FORBIDDEN, "the client certificate cannot be read") from error
        if certificate is None:
            raise HttpError(HTTPStatus.FORBIDDEN, "a client certificate is required")
        return certificate


def require_client(clients: Clients) -> Middleware:
    """Make the middleware that refuses what no client that may call has sent."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        clients.check(request)
        return await handler(request)

    return check
