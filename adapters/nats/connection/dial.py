"""Making one connection to one server. What goes on after that is `adapters.nats.connection.connection`'s."""

import asyncio
import contextlib
import ipaddress
import logging
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from adapters.nats.connection.credentials import Credentials
from gateway.settings import NatsSettings

__all__ = ["BROKEN", "Server", "dial", "discovered", "hang_up"]

_PING_SECONDS: Final = 1
_PINGS_UNANSWERED: Final = 2
_CLOSE_SECONDS: Final = 1.0

BROKEN: Final = (nats.errors.Error, OSError, RuntimeError)
"""What using a client raises whose connection is lost; a transport of uvloop's that is closed raises RuntimeError."""

_log = structlog.get_logger(__name__)


def _is_ours_to_tell(record: logging.LogRecord) -> bool:
    # An error of a client ends its connection; `adapters.nats.connection.connection` logs that once and reconnects.
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        _log.debug("nats_client_failed", error=str(error) or type(error).__name__)
    return error is None


logging.getLogger("nats.aio.client").addFilter(_is_ours_to_tell)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is."""

    url: str
    tls_name: str | None = None
    """The name that its certificate has to be for; None for the one in the URL."""

    @property
    def is_encrypted(self) -> bool:
        """Whether nothing may be said to it in plain text."""
        return self.url.startswith("tls:")


async def dial(server: Server, settings: NatsSettings, tls: ssl.SSLContext | None, lost: asyncio.Event) -> Client:
    """Connect to a server.

    Args:
        server: Where.
        settings: Who we are, and how long it may take.
        tls: For ``tls://``: whom we trust, and our certificate.
        lost: Set when the connection is lost, sooner or later: `Client.is_connected` knows first.

    Raises:
        OSError: It cannot be reached, or TLS fails.
        TimeoutError: It took too long.
        nats.errors.Error: It does not let us in.
        CredentialsError: We do not know who we are.
    """
    client = Client()
    try:
        async with asyncio.timeout(settings.request_timeout_seconds):
            await _connect(client, server, settings, tls, lost)
    except BaseException:
        await hang_up(client)
        raise
    if server.is_encrypted and not _is_encrypted(client):
        # The client encrypts only where the server asks for it, whatever the URL says.
        await hang_up(client)
        raise nats.errors.Error("nats: the server does not encrypt")
    return client


async def hang_up(client: Client) -> None:
    """Close a connection. Takes a moment at most, even if its other end hangs."""
    with contextlib.suppress(TimeoutError, *BROKEN):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
    # A client whose own closing has failed midway takes itself for closed, and has left these behind.
    for subscription in tuple(client._subs.values()):  # noqa: SLF001
        subscription._stop_processing()  # noqa: SLF001


def discovered(client: Client, server: Server) -> list[Server]:
    """Tell which other servers one has told of. Those that could be spoken to in plain text only are left out."""
    name = server.tls_name or urlsplit(server.url).hostname
    found = []
    for uri in client.discovered_servers:
        host = uri.hostname or ""
        is_address = _is_address(host)
        if server.is_encrypted:
            # A certificate is rarely for an address: the server is one of those that are known by that name.
            found.append(Server(f"tls://{uri.netloc}", name if is_address else None))
        elif is_address and ipaddress.ip_address(host).is_loopback:
            found.append(Server(f"nats://{uri.netloc}"))
    return found


async def _connect(
    client: Client, server: Server, settings: NatsSettings, tls: ssl.SSLContext | None, lost: asyncio.Event
) -> None:
    extra: dict[str, Any] = {} if server.tls_name is None else {"tls_hostname": server.tls_name}
    if settings.credentials_file is not None:
        loaded = await asyncio.to_thread(Credentials.load, settings.credentials_file)
        extra |= {"user_jwt_cb": loaded.jwt, "signature_cb": loaded.sign}

    causes: list[Exception] = []

    async def failed(error: Exception) -> None:
        causes[:] = [error]
        _log.debug("nats_client_failed", error=str(error) or type(error).__name__)

    async def closed() -> None:
        lost.set()

    try:
        await client.connect(
            server.url,
            name="d1-gateway",
            closed_cb=closed,
            error_cb=failed,
            allow_reconnect=False,
            # With a limit of attempts it fails after the second one instead of never.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            ping_interval=_PING_SECONDS,
            max_outstanding_pings=_PINGS_UNANSWERED,
            pending_size=0,
            tls=tls,
            **extra,
        )
    except nats.errors.NoServersError as error:
        raise causes[0] if causes else error from None


def _is_encrypted(client: Client) -> bool:
    # There is no public way to know. If this one should end, no connection is made, rather than one without TLS.
    transport = client._transport  # noqa: SLF001
    writer = transport._io_writer if isinstance(transport, TcpTransport) else None  # noqa: SLF001
    return writer is not None and writer.get_extra_info("ssl_object") is not None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
