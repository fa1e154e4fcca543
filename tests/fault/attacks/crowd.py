"""A crowd of strangers in a process of its own: connections without a certificate, opened again as soon as they end.

It is run as a script, so that it imports nothing else of the tests.
"""

import asyncio
import os
import resource
import select
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

__all__ = ["Behaviour", "crowd"]

Behaviour = Literal["silent", "dripping", "stalling"]
"""What a connection says: nothing, a ClientHello byte by byte, or a whole ClientHello and nothing more."""

_PROCESSES: Final = 1
_DRIP_SECONDS: Final = 0.5
_FIRST_BYTES: Final = {"silent": 0, "dripping": 1, "stalling": 10_000}
_GATHERING_SECONDS: Final = 3.0
_READY: Final = b"ready\n"
_BIND_ADDRESS_NO_PORT: Final = 24
"""IP_BIND_ADDRESS_NO_PORT of Linux, which Python does not name."""
_CLOSED: Final = select.EPOLLIN | select.EPOLLRDHUP


@asynccontextmanager
async def crowd(port: int, behaviour: Behaviour, *, connections: int, addresses: int) -> AsyncIterator[None]:
    """Keep so many connections to a port of loopback open, from so many addresses, for the duration of the block.

    The block begins when as many have been made, or after some time without.
    """
    share = connections // _PROCESSES
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, behaviour, str(port), str(share), str(addresses), str(number)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(_PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            async with asyncio.timeout(20):
                assert await process.stdout.readline() == _READY
        yield
    finally:
        for process in processes:
            process.kill()
            await process.wait()


class _Crowd:
    """The connections of one process."""

    def __init__(self, behaviour: Behaviour, port: int, addresses: Sequence[str]) -> None:
        self._behaviour = behaviour
        self._port = port
        self._addresses = addresses
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._said: dict[int, int] = {}
        self._hello = _client_hello()
        self._number = 0
        self.made = 0
        """The number of connections that were made so far."""

    def open(self) -> None:
        """Open a connection, from the next address."""
        opened = socket.socket()
        opened.settimeout(0)
        # The kernel picks the port when it connects, so that the same one serves for several addresses.
        opened.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
        opened.bind((self._addresses[self._number % len(self._addresses)], 0))
        self._number += 1
        opened.connect_ex(("127.0.0.1", self._port))
        number = opened.fileno()
        self._open[number], self._said[number] = opened, 0
        self._poll.register(number, _CLOSED | select.EPOLLOUT)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Speak, and open again what is closed."""
        dripped = time.monotonic()
        while not is_over():
            for number, events in self._poll.poll(0.1):
                if events & ~select.EPOLLOUT:
                    self._poll.unregister(number)
                    self._open.pop(number).close()
                    self.open()
                else:
                    self.made += 1
                    self._poll.modify(number, _CLOSED)
                    self._speak(number, _FIRST_BYTES[self._behaviour])
            if self._behaviour == "dripping" and time.monotonic() - dripped > _DRIP_SECONDS:
                dripped = time.monotonic()
                for number in self._open:
                    self._speak(number, 1)

    def _speak(self, number: int, size: int) -> None:
        start = self._said[number]
        if size == 0:
            return
        try:
            self._said[number] += self._open[number].send(self._hello[start : start + size])
        except OSError:
            # Closed, or not connected yet; the next poll says so.
            return


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs an answer")


def _main(behaviour: Behaviour, port: str, connections: str, addresses: str, number: str) -> None:
    # Elsewhere in the world, it would not take the gateway's processor.
    os.nice(19)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sources = [f"127.0.{1 + each // 250}.{1 + each % 250}" for each in range(int(addresses))]
    strangers = _Crowd(behaviour, int(port), sources[int(number) :: _PROCESSES] or sources)
    for _ in range(int(connections)):
        strangers.open()
    gathered = time.monotonic() + _GATHERING_SECONDS
    strangers.run(lambda: strangers.made >= int(connections) or time.monotonic() > gathered)
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    strangers.run(lambda: False)


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type] # `crowd` gives the right ones
