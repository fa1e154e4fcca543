"""A wire between the gateway and a simulated system, which records the traffic and can be cut."""

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["Request", "Wire"]

_HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536
_FIELD = re.compile(rb"^([A-Za-z-]+): *([^\r\n]*)\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that passed."""

    method: str
    path: str
    correlation_id: str
    body: bytes = field(repr=False)


class Wire:
    """Terminates TLS as the system would, and opens a new TLS connection to the system.

    A cut wire refuses connections and has reset the open ones. A stalled one accepts requests and forwards nothing.
    """

    def __init__(self, port: int, serving: ssl.SSLContext, calling: ssl.SSLContext) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.is_stalled = False
        self._port = port
        self._serving = serving
        self._calling = calling
        self._listening: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @classmethod
    @asynccontextmanager
    async def laid(cls, port: int, serving: ssl.SSLContext, calling: ssl.SSLContext) -> AsyncIterator["Wire"]:
        """Open a wire to a port for the duration of the block."""
        wire = cls(port, serving, calling)
        await wire.mend()
        try:
            yield wire
        finally:
            await wire.cut()
            await asyncio.gather(*wire._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"https://{_HOST}:{self.port}"

    async def mend(self) -> None:
        """Accept connections again, at the former port, and forward what comes."""
        if self.is_stalled:
            # Connections that are stalled stay so.
            await self.cut()
            self.is_stalled = False
        if self._listening is not None and self._listening.is_serving():
            return
        self._listening = await asyncio.start_server(self._carry, _HOST, self.port, ssl=self._serving, backlog=2000)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse connections, and reset the open ones."""
        if self._listening is not None:
            self._listening.close()
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.sleep(0)

    def counts(self, method: str = "", path_end: str = "") -> Counter[str]:
        """Return the number of requests for each correlation id, optionally of a method or with a path suffix."""
        return Counter(
            request.correlation_id
            for request in self.requests
            if method in {"", request.method} and request.path.endswith(path_end)
        )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection(_HOST, self._port, ssl=self._calling)
            async with asyncio.TaskGroup() as tasks:
                back = tasks.create_task(_pump(far_reader, writer))
                await self._forth(reader, far)
                back.cancel()
        except (asyncio.CancelledError, ExceptionGroup, OSError, asyncio.IncompleteReadError):
            # Only here: asyncio's server reports a cancelled connection as an error.
            pass
        finally:
            del self._connections[task]
            for each in (writer, far):
                if each is not None:
                    each.transport.abort()

    async def _forth(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = {name.lower(): value for name, value in _FIELD.findall(head)}
            body = await reader.readexactly(int(fields.get(b"content-length", 0)))
            method, path, _ = head.split(b" ", 2)
            correlation_id = fields.get(b"x-correlation-id", b"").decode()
            self.requests.append(Request(method.decode(), path.decode(), correlation_id, body))
            if not self.is_stalled:
                far.write(head + body)
                await far.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(_CHUNK_BYTES):
        writer.write(content)
        await writer.drain()
    # The far side has closed: close this one too.
    writer.transport.abort() if reader.exception() else writer.close()
