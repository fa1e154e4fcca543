"""One connection to one server: authentication, TLS and closing. `connection` reconnects."""

import asyncio
import base64
import binascii
import contextlib
import ipaddress
import logging
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import nats.errors
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from gateway.settings import NatsSettings, PrivateFileError, read_private

__all__ = ["BROKEN", "Credentials", "CredentialsError", "Server", "dial", "discovered", "hang_up"]

_PING_SECONDS: Final = 1
_MAX_OUTSTANDING_PINGS: Final = 2
_CLOSE_SECONDS: Final = 1.0

BROKEN: Final = (nats.errors.Error, OSError, RuntimeError)
"""Errors of a client whose connection is lost. A closed transport of uvloop raises RuntimeError."""

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----\s+([A-Za-z0-9_.-]+)\s+-+END [A-Z ]+-+")
_SEED_BYTES: Final = 2 + 32 + 2
"""The type of the key, the key, and a checksum."""

_log = structlog.get_logger(__name__)


def _is_not_client_error(record: logging.LogRecord) -> bool:
    # An error of a client ends its connection; `connection` logs that once and reconnects.
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        _log.debug("nats_client_failed", error=str(error) or type(error).__name__)
    return error is None


logging.getLogger("nats.aio.client").addFilter(_is_not_client_error)


class CredentialsError(Exception):
    """A file holds no usable credentials. The message reveals nothing of its content."""


class Credentials:
    """The credentials of a NATS user, from a ``.creds`` file: a JWT, and the key that proves its possession."""

    def __init__(self, jwt: str, key: Ed25519PrivateKey) -> None:
        """Use `load`."""
        self._jwt = jwt
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file. Blocks.

        Raises:
            CredentialsError: The file holds no user credentials, is not private, or is not readable.
        """
        try:
            blocks = dict(_BLOCK.findall(read_private(path).decode("ascii")))
        except PrivateFileError as error:
            raise CredentialsError(f"The credentials cannot be used: {error}.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"The credentials file {path} cannot be read: {type(error).__name__}.") from error
        try:
            jwt, seed = blocks["NATS USER JWT"], blocks["USER NKEY SEED"]
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except (KeyError, binascii.Error):
            raise CredentialsError(f"The file {path} does not hold a NATS user's JWT and seed.") from None
        if len(raw) != _SEED_BYTES or int.from_bytes(raw[-2:], "little") != binascii.crc_hqx(raw[:-2], 0):
            raise CredentialsError(f"The seed in {path} is damaged.")
        if not seed.startswith("SU"):
            raise CredentialsError(f"The seed in {path} is not a user's seed.")
        return cls(jwt, Ed25519PrivateKey.from_private_bytes(raw[2:-2]))

    def jwt(self) -> bytes:
        """Return the user's JWT."""
        return self._jwt.encode()

    def sign(self, nonce: str) -> bytes:
        """Sign the server's nonce."""
        return base64.b64encode(self._key.sign(nonce.encode()))


@dataclass(frozen=True, slots=True)
class Server:
    """The address of a server."""

    url: str
    tls_name: str | None = None
    """The name expected in its certificate; None for the host of the URL."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection must use TLS."""
        return self.url.startswith("tls:")


async def dial(server: Server, settings: NatsSettings, tls: ssl.SSLContext | None, lost: asyncio.Event) -> Client:
    """Connect to a server.

    Args:
        server: The server.
        settings: Credentials and timeout.
        tls: For ``tls://``: the trusted CAs and our certificate.
        lost: Set when the connection is lost, possibly late: `Client.is_connected` changes first.

    Raises:
        OSError: The server is unreachable, or TLS fails.
        TimeoutError: The connect timeout has passed.
        nats.errors.Error: The server rejects us.
        CredentialsError: Our credentials are not usable.
    """
    client = Client()
    try:
        async with asyncio.timeout(settings.request_timeout_seconds):
            await _connect(client, server, settings, tls, lost)
    except BaseException:
        await hang_up(client)
        raise
    if server.is_encrypted and not _is_encrypted(client):
        # The client encrypts only if the server requests it, whatever the URL says.
        await hang_up(client)
        raise nats.errors.Error("nats: the server does not encrypt")
    return client


async def hang_up(client: Client) -> None:
    """Close a connection, within a second even if the server hangs."""
    with contextlib.suppress(TimeoutError, *BROKEN):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
    # A client whose closing failed midway considers itself closed, but leaves these tasks behind.
    for subscription in tuple(client._subs.values()):  # noqa: SLF001  nats-py has no public way
        subscription._stop_processing()  # noqa: SLF001  nats-py has no public way


def discovered(client: Client, server: Server) -> list[Server]:
    """Return the other servers that a server has announced, except those reachable in plaintext only."""
    name = server.tls_name or urlsplit(server.url).hostname
    found = []
    for uri in client.discovered_servers:
        host = uri.hostname or ""
        is_address = _is_address(host)
        if server.is_encrypted:
            # Certificates rarely name addresses: expect the name by which the announcing server is known.
            found.append(Server(f"tls://{uri.netloc}", name if is_address else None))
        elif is_address and ipaddress.ip_address(host).is_loopback:
            found.append(Server(f"nats://{uri.netloc}"))
    return found


async def _connect(
    client: Client, server: Server, settings: NatsSettings, tls: ssl.SSLContext | None, lost: asyncio.Event
) -> None:
    extra: dict[str, Any] = {} if server.tls_name is None else {"tls_hostname": server.tls_name}
    if settings.credentials_file is not None:
        credentials = await asyncio.to_thread(Credentials.load, settings.credentials_file)
        extra |= {"user_jwt_cb": credentials.jwt, "signature_cb": credentials.sign}

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
            # Without a limit it would never fail; with 1 it fails after the second attempt.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            ping_interval=_PING_SECONDS,
            max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
            pending_size=0,
            tls=tls,
            **extra,
        )
    except nats.errors.NoServersError as error:
        raise causes[0] if causes else error from None


def _is_encrypted(client: Client) -> bool:
    # There is no public attribute. If these private ones change, connections with TLS fail rather than go unencrypted.
    transport = client._transport  # noqa: SLF001  nats-py has no public way
    writer = transport._io_writer if isinstance(transport, TcpTransport) else None  # noqa: SLF001  nats-py has no public way
    return writer is not None and writer.get_extra_info("ssl_object") is not None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
