"""Sources of documents that the gateway reloads while it runs: files and https URLs."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
from yarl import URL

from gateway.aio.sockets import client_socket

__all__ = ["FileSource", "Source", "SourceError", "UrlSource", "url_source"]

_MAX_BYTES = 262_144
_TIMEOUT_SECONDS = 5.0
_OK = 200


class SourceError(Exception):
    """A source cannot be read. The text says why, and contains nothing of the document."""


class Source(Protocol):
    """A document that may change."""

    @property
    def location(self) -> str:
        """The path or URL, for people."""

    async def read(self) -> bytes | None:
        """Return the content; None if it has not changed since the last call.

        Raises:
            SourceError: It cannot be read. This may be raised only once while the reason stays the same.
        """


class FileSource:
    """A file, read at every call. A change counts once two calls have seen it, because it may be half written before.

    Content is compared, as size and times do not tell: tools preserve them, and some file systems count in seconds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._used: bytes | str | None = None
        """The content, or why there is none."""
        self._seen: bytes | str | None = None

    @property
    def location(self) -> str:
        """The path."""
        return str(self._path)

    async def read(self) -> bytes | None:
        """Return the content if it has changed."""
        return await asyncio.to_thread(self.read_now)

    def read_now(self) -> bytes | None:
        """Return the content if it has changed; blocks.

        Raises:
            SourceError: The file is missing, unreadable or too large; raised once until that changes.
        """
        found = self._look()
        has_settled, self._seen = found == self._seen or self._used is None, found
        if not has_settled or found == self._used:
            return None
        self._used = found
        if isinstance(found, str):
            raise SourceError(found)
        return found

    def _look(self) -> bytes | str:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            return error.strerror or type(error).__name__
        return content if len(content) <= _MAX_BYTES else f"larger than {_MAX_BYTES} bytes"


class UrlSource:
    """A document at a URL, without redirects or the environment's proxies, and with limits on size and time."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._content: bytes | None = None

    @property
    def location(self) -> str:
        """The URL without its query, which may be a secret."""
        return str(URL(self._url).with_query(None))

    async def read(self) -> bytes | None:
        """Return the document if it differs from the last one.

        Raises:
            SourceError: It cannot be fetched.
        """
        try:
            content = await self._get()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # A timeout is an OSError.
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
                if len(content) > _MAX_BYTES:
                    raise SourceError(f"larger than {_MAX_BYTES} bytes")
        return bytes(content)


@asynccontextmanager
async def url_source(
    url: str, tls: ssl.SSLContext, *, total_timeout_seconds: float = _TIMEOUT_SECONDS
) -> AsyncIterator[UrlSource]:
    """Open the source at a URL.

    Args:
        url: An https URL; plain http only on loopback (`gateway.settings.types.DocumentUrl`).
        tls: The trusted CAs.
        total_timeout_seconds: The time limit of a read.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=1, socket_factory=client_socket),
        timeout=aiohttp.ClientTimeout(total=total_timeout_seconds),
        headers={"accept": "application/jwk-set+json, application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield UrlSource(session, url)
