"""The minimal sender of notifications to watchers, with the same TLS: the baseline of fan-out and replay.

Runs as a process of its own, ``python -m bench.baselines.bare_watch KIND SETTINGS``, with the gateway's settings;
writes its gRPC address and the port of its edge to standard output. It has no event log, filter, cursor, heartbeat or
policy. The kinds:

- ``memory``: reads names of message files (see `bench.clients.watching`) from standard input, each with a number of
  repetitions, and sends the messages to all watchers one by one. Writes a line for each file.
- ``edge``: has the gateway's edge, which stores nothing and sends the notifications to all watchers, up to 100 of those
  pending in one message.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import grpc
import uvloop

from bench.baselines.parts import credentials, edge, settle
from bench.clients.watching import WATCH
from gateway.aio.sockets import join
from gateway.bootstrap import logging as logs
from gateway.notifications import batch_encoding
from gateway.ports import Event
from gateway.settings import Settings, load
from issuer.notification.v1 import messages_pb2 as notification

__all__: list[str] = []

_MOST_IN_A_MESSAGE: Final = {"memory": 1, "edge": 100}
_LOG_ID: Final = "00000000"
_EMPTY: Final = notification.WatchNotificationsResponse().SerializeToString()


class _Stage:
    """The watchers' outbox: serialised responses, which can be concatenated into a longer one."""

    def __init__(self, most: int) -> None:
        self._parts: list[bytes] = []
        self._most = most
        self._more = asyncio.Event()

    def put(self, parts: list[bytes]) -> None:
        self._parts += parts
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def append(self, event: Event) -> bool:
        # The gateway's way to make a response out of bytes, with a cursor that cannot be resumed.
        place = len(self._parts)
        self.put([batch_encoding.batch(_LOG_ID, (place,), (event.payload,), place, b"")])
        return True

    async def watch(self, request: notification.WatchNotificationsRequest, context: Any) -> None:
        await context.write(_EMPTY)
        place = 0 if request.position == notification.START_POSITION_EARLIEST else len(self._parts)
        while True:
            more = self._more
            while place < len(self._parts):
                part = self._parts[place : place + self._most]
                place += len(part)
                await context.write(b"".join(part))
            await more.wait()


def _read(file: Path) -> Iterator[bytes]:
    content = file.read_bytes()
    start = 0
    while start < len(content):
        end = start + 4 + int.from_bytes(content[start : start + 4])
        yield content[start + 4 : end]
        start = end


async def _serve(kind: str, settings: Settings) -> None:
    # By default structlog writes every debug line, to where the addresses are read.
    logs.configure(settings.log.level)
    stage, server = _Stage(_MOST_IN_A_MESSAGE[kind]), grpc.aio.server()
    service, _, rpc = WATCH[1:].partition("/")
    handler: grpc.RpcMethodHandler[Any, bytes] = grpc.unary_stream_rpc_method_handler(
        stage.watch, request_deserializer=notification.WatchNotificationsRequest.FromString
    )
    server.add_registered_method_handlers(service, {rpc: handler})
    port = server.add_secure_port(join(settings.grpc.host, 0), credentials(settings.grpc))
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, None)
        edge_port = await stack.enter_async_context(edge(settings, stage))
        settle()
        sys.stdout.write(f"{join(settings.grpc.host, port)} {edge_port}\n")
        sys.stdout.flush()
        while order := await asyncio.to_thread(sys.stdin.readline):
            file, times = order.rsplit(maxsplit=1)
            stage.put(list(_read(Path(file))) * int(times))
            sys.stdout.write("\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], load(Path(sys.argv[2]))))
