"""Where what the gateway reads again while it runs comes from: files and https."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
from yarl import URL

from gateway.aio.sockets import client_socket

__all__ = ["FileSource", "Source", "SourceError", "UrlSource", "url_source"]

_MOST_BYTES = 262_144
_TOTAL_SECONDS = 5.0
_OK = 200


class SourceError(Exception):
    """What was to be read cannot be read; the text says why and holds none of it."""


class Source(Protocol):
    """Something that may change."""

    @property
    def place(self) -> str:
        """Where it is, for people."""

    async def read(self) -> bytes | None:
        """Return its content; None if that has not changed since the last time.

        Raises:
            SourceError: It cannot be read. Where the reason stays the same this may be said only once.
        """


class FileSource:
    """A file, read again when its inode, time or size differ."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | str | None = None

    @property
    def place(self) -> str:
        """The path."""
        return str(self._path)

    async def read(self) -> bytes | None:
        """Return the content if it may have changed."""
        return await asyncio.to_thread(self.read_now)

    def read_now(self) -> bytes | None:
        """Return the content if it may have changed; blocks.

        Raises:
            SourceError: The file is not there, not readable or too large; said once until that changes.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
                if seen == self._seen:
                    return None
                self._seen = seen
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if reason == self._seen:
                return None
            self._seen = reason
            raise SourceError(reason) from error
        if len(content) > _MOST_BYTES:
            raise SourceError(f"it is larger than {_MOST_BYTES} bytes")
        return content


class UrlSource:
    """A document behind a URL. No redirects, no proxies of the environment, a small body, an answer soon."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._content: bytes | None = None

    @property
    def place(self) -> str:
        """The URL, without what may be a secret."""
        return str(URL(self._url).with_query(None))

    async def read(self) -> bytes | None:
        """Return the document if it differs from the last one.

        Raises:
            SourceError: It cannot be had.
        """
        try:
            content = await self._get()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # A time-out is an OSError.
            raise SourceError(type(error).__name__) from error
        if content == self._content:
            return None
        self._content = content
        return content

    async def _get(self) -> bytes:
        content = bytearray()
        async with self._session.get(self._url, allow_redirects=False) as response:
            if response.status != _OK:
                raise SourceError(f"HTTP {response.status}")
            async for part in response.content.iter_any():
                content += part
                if len(content) > _MOST_BYTES:
                    raise SourceError(f"it is larger than {_MOST_BYTES} bytes")
        return bytes(content)


@asynccontextmanager
async def url_source(
    url: str, tls: ssl.SSLContext, *, total_timeout_seconds: float = _TOTAL_SECONDS
) -> AsyncIterator[UrlSource]:
    """Open the source behind a URL.

    Args:
        url: An https URL; plain http only on loopback (`gateway.settings.types.DocumentUrl`).
        tls: Whom to trust.
        total_timeout_seconds: How long a reading may take.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=1, socket_factory=client_socket),
        timeout=aiohttp.ClientTimeout(total=total_timeout_seconds),
        headers={"accept": "application/jwk-set+json, application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield UrlSource(session, url)
