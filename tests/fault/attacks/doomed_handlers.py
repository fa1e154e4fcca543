"""Handlers, each in a process of its own, that die (SIGKILL) of the first callback request that they receive.

It is run as a script, so that it imports nothing else of the tests, and forks before gRPC starts its threads.
"""

import asyncio
import os
import queue
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import grpc

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import service_pb2_grpc

__all__ = ["Doomed", "doomed_handlers"]

_REGISTERED: Final = b"registered\n"
_DEAD: Final = b"dead\n"


class Doomed:
    """The handlers that are left."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines
        self.dead = 0
        """The number of handlers that have died."""

    async def until_registered(self, count: int) -> None:
        """Wait until so many are registered."""
        for _ in range(count):
            assert await self._lines.readline() == _REGISTERED

    async def count(self) -> None:
        """Count the dead, for as long as it runs."""
        while await self._lines.readline() == _DEAD:
            self.dead += 1


@asynccontextmanager
async def doomed_handlers(
    count: int, address: str, files: Sequence[Path], kinds: Sequence[str]
) -> AsyncIterator[Doomed]:
    """Run handlers for the duration of the block, all of them registered.

    Args:
        count: The number of handlers.
        address: The gateway's gRPC listener, as ``host:port``.
        files: The server's CA, and the caller's key and certificate.
        kinds: The names of the kinds of callback request that each handles.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, str(count), address, ",".join(kinds), *map(str, files)),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    doomed = Doomed(process.stdout)
    try:
        await doomed.until_registered(count)
        counting = asyncio.create_task(doomed.count())
        try:
            yield doomed
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
    finally:
        # It has ended by itself if none is left.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _serve(address: str, kinds: str, files: Sequence[str]) -> None:
    """Register, and die of the first callback request."""
    server_ca, key, certificate = (Path(file).read_bytes() for file in files)
    credentials = grpc.ssl_channel_credentials(server_ca, private_key=key, certificate_chain=certificate)
    says: queue.SimpleQueue[callback.HandleCallbacksRequest | None] = queue.SimpleQueue()
    numbers = [callback.CallbackKind.Value(kind) for kind in kinds.split(",")]
    registration = callback.HandlerRegistration(name="doomed", callback_kinds=numbers)
    says.put(callback.HandleCallbacksRequest(registration=registration))
    with grpc.secure_channel(address, credentials) as channel:
        for message in service_pb2_grpc.CallbackServiceStub(channel).HandleCallbacks(iter(says.get, None)):
            if message.HasField("registered"):
                os.write(sys.stdout.fileno(), _REGISTERED)
            if message.HasField("callback_request"):
                os.kill(os.getpid(), signal.SIGKILL)


def _main(count: str, address: str, kinds: str, *files: str) -> None:
    for _ in range(int(count)):
        if os.fork() == 0:
            _serve(address, kinds, files)
            return
    for _ in range(int(count)):
        _, status = os.wait()
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        os.write(sys.stdout.fileno(), _DEAD)


if __name__ == "__main__":
    _main(*sys.argv[1:])
