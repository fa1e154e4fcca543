"""A cable between D1 and an edge, which can be cut, and swallow what it should carry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

__all__ = ["Cable", "Carries"]

_HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536


class Carries(Enum):
    """What a cable carries."""

    ALL = auto()
    NO_REQUESTS = auto()
    """What D1 sends vanishes."""
    NO_RESPONSES = auto()
    """What the edge sends vanishes."""


class Cable:
    """Passes bytes on, without a look at TLS. It knows nothing of requests, so its faults meet them anywhere."""

    def __init__(self, far_port: int) -> None:
        """Use `laid`."""
        self.carries = Carries.ALL
        self._port = 0
        self._far_port = far_port
        self._listening: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @classmethod
    @asynccontextmanager
    async def laid(cls, edge: str) -> AsyncIterator["Cable"]:
        """Lay a cable to an edge's URL for the duration of the block."""
        cable = cls(int(edge.rpartition(":")[2]))
        await cable.mend()
        try:
            yield cable
        finally:
            cable.refuse()
            await asyncio.gather(*cable._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        """The URL at which D1 reaches the edge; constant."""
        return f"https://{_HOST}:{self._port}"

    async def mend(self) -> None:
        """Accept connections, and carry all. What was swallowed is lost, so the open connections are cut."""
        if self.carries is not Carries.ALL:
            self.carries = Carries.ALL
            self.cut()
        if self._listening is None:
            self._listening = await asyncio.start_server(self._carry, _HOST, self._port)
            self._port = self._listening.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse connections, and cut the open ones."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self.cut()

    def cut(self) -> None:
        """Reset the open connections, whatever is on its way."""
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        far = None
        try:
            far_reader, far = await asyncio.open_connection(_HOST, self._far_port)
            async with asyncio.TaskGroup() as tasks:
                back = tasks.create_task(self._pump(far_reader, writer, Carries.NO_RESPONSES))
                await self._pump(reader, far, Carries.NO_REQUESTS)
                back.cancel()
        except (asyncio.CancelledError, ExceptionGroup, OSError):
            # Only here: asyncio's server reports a cancelled connection as an error.
            pass
        finally:
            del self._connections[task]
            for each in (writer, far):
                if each is not None:
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nothing_if: Carries) -> None:
        while content := await reader.read(_CHUNK_BYTES):
            if self.carries is not nothing_if:
                writer.write(content)
                await writer.drain()
        writer.close()
