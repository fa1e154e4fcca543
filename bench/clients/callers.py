"""Callers of SuspendCard, each with its own token and for its own issuer.

Runs as a process of its own, ``python -m bench.clients.callers ADDRESS CA CALLERS``, with a JSON file of pairs: an
issuer and a token. For each line on standard input, a number of calls and how many of them are in flight, it makes the
calls for the callers in turns and writes the seconds that they took.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import grpc
import orjson
import uvloop

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc

__all__: list[str] = []

_CONNECTIONS: Final = 8
_OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1),)
_TIMEOUT_SECONDS: Final = 10


async def _call(stub: Any, callers: Iterator[tuple[str, str]], left: Iterator[int]) -> None:
    for _ in left:
        issuer_id, token = next(callers)
        request = card.SuspendCardRequest(issuer_id=issuer_id, card_id="card_0001", reason_code="FRAUD")
        metadata = (("authorization", f"Bearer {token}"),)
        await stub.SuspendCard(request, metadata=metadata, timeout=_TIMEOUT_SECONDS)


async def _obey(address: str, trusted: grpc.ChannelCredentials, callers: Iterator[tuple[str, str]]) -> None:
    async with AsyncExitStack() as stack:
        stubs = [
            service_pb2_grpc.CardServiceStub(
                await stack.enter_async_context(grpc.aio.secure_channel(address, trusted, _OWN_CONNECTION))
            )
            for _ in range(_CONNECTIONS)
        ]
        while line := await asyncio.to_thread(sys.stdin.readline):
            calls, in_flight = map(int, line.split())
            began, left = time.perf_counter(), iter(range(calls))
            async with asyncio.TaskGroup() as calling:
                for place in range(in_flight):
                    calling.create_task(_call(stubs[place % _CONNECTIONS], callers, left))
            sys.stdout.write(f"{time.perf_counter() - began}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _address, _server_ca, _callers = sys.argv[1:]
    _trusted = grpc.ssl_channel_credentials(Path(_server_ca).read_bytes())
    uvloop.run(_obey(_address, _trusted, itertools.cycle(orjson.loads(Path(_callers).read_bytes()))))
