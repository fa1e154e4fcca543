"""A TCP proxy whose connections a test can cut, or freeze."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["Link"]


class Link:
    """Connects to a gateway until a test interrupts it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._transports: set[asyncio.StreamWriter] = set()
        self._generation = 0
        self._has_ended = False
        self.address = ""
        self.count = 0
        """The number of connections made."""

    @classmethod
    @asynccontextmanager
    async def to(cls, address: str) -> AsyncIterator["Link"]:
        """Run a link for the duration of the block."""
        host, _, port = address.rpartition(":")
        link = cls(host, int(port))
        async with asyncio.TaskGroup() as tasks:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if not server.is_serving():
                    # Accepted in the moment in which the link ends: nothing may begin any more.
                    writer.transport.abort()
                    return
                await asyncio.gather(tasks.create_task(link._serve(reader, writer)), return_exceptions=True)

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            link.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                yield link
            finally:
                server.close()
                link._has_ended = True
                link.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for transport in self._transports:
            transport.transport.abort()

    def die(self) -> None:
        """Freeze the present connections silently; new ones work."""
        self._generation += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        pair, generation = {writer, there_writer}, self._generation
        if self._has_ended:
            # Meanwhile: nobody else would cut it.
            for each in pair:
                each.transport.abort()
            return
        self._transports |= pair
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, there_writer, generation))
                both.create_task(self._carry(there_reader, writer, generation))
        finally:
            self._transports -= pair
            for each in pair:
                each.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, generation: int) -> None:
        with suppress(ConnectionError):
            while (data := await source.read(65_536)) and not sink.is_closing():
                if generation == self._generation:
                    sink.write(data)
                    await sink.drain()
        sink.transport.abort()
