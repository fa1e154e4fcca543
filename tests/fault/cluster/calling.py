"""Internal services that call both gateways, and retry on UNAVAILABLE only.

A change in progress under its request id is also retried, as its contract says.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

import grpc

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1.service_pb2_grpc import ThreeDSOperationServiceStub
from tests.contract.card_rpcs import credentials
from tests.fault.processes import during

__all__ = ["Calls", "list_operations"]

_SECONDS = 10.0
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.2
_UNAVAILABLE = frozenset({grpc.StatusCode.UNAVAILABLE})
_IN_FLIGHT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED})
_Call = Callable[[grpc.aio.Channel], Awaitable[object]]


async def list_operations(channel: grpc.aio.Channel) -> None:
    """List a card's operations: needs nothing that the gateways share."""
    request = history_pb2.ListThreeDSOperationsRequest(card_id="card-active")
    await ThreeDSOperationServiceStub(channel).ListThreeDSOperations(request, timeout=_SECONDS)


class Calls:
    """Calls both gateways while it runs."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], name: str) -> None:
        self.failures: list[str] = []
        """The errors that a retry cannot fix."""
        self.cancelled_count = 0
        """Calls that arrived just as their gateway started to drain: gRPC's server ends them with CANCELLED before the
        gateway sees them. They are retried."""
        self._channels = channels
        self._name = name

    @asynccontextmanager
    async def run(self, *, changes: bool) -> AsyncIterator[None]:
        """Make calls for the duration of the block.

        A change under a request id is made once: one interrupted by a kill is not repeated, and is no success.
        """
        works = (self._list_and_register, self._change) if changes else (self._list_and_register,)
        async with during(*(partial(work, each) for work in works for each in range(len(self._channels)))):
            yield

    async def _list_and_register(self, gateway: int, ending: asyncio.Event) -> None:
        while not ending.is_set():
            await self._call("list", gateway, list_operations)
            await self._call("register", gateway, _register(f"{self._name}-{uuid4().hex}"))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _change(self, gateway: int, ending: asyncio.Event) -> None:
        card_id = f"{self._name}-changed-{gateway}"
        await self._call("register", gateway, _register(card_id))
        while not ending.is_set():
            for make in (_suspend, _resume):
                await self._call("change", gateway, make(card_id), _IN_FLIGHT)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _call(
        self, what: str, gateway: int, call: _Call, passing: Container[grpc.StatusCode] = _UNAVAILABLE
    ) -> None:
        began = time.monotonic()
        for attempt in itertools.count(gateway):
            try:
                await call(self._channels[attempt % len(self._channels)])
            except grpc.aio.AioRpcError as error:
                waited = time.monotonic() - began
                if error.code() is grpc.StatusCode.CANCELLED:
                    self.cancelled_count += 1
                elif error.code() not in passing or waited > _PATIENCE_SECONDS:
                    self.failures.append(f"{what}, after {waited:.1f} s: {error.code().name} {error.details()}")
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return


def _register(card_id: str) -> _Call:
    # Idempotent, so it has no request id.
    request = card.RegisterCardRequest(
        card_id=card_id,
        consumer_id="consumer-1",
        card_product_id="light",
        credentials=credentials(f"4970{uuid4().int % 10**12:012}"),
    )
    return lambda channel: CardServiceStub(channel).RegisterCard(request, timeout=_SECONDS)


def _suspend(card_id: str) -> _Call:
    request = card.SuspendCardRequest(card_id=card_id, request_id=str(uuid4()), reason_code="USER_DECISION")
    return lambda channel: CardServiceStub(channel).SuspendCard(request, timeout=_SECONDS)


def _resume(card_id: str) -> _Call:
    request = card.ResumeCardRequest(card_id=card_id, request_id=str(uuid4()), reason_code="USER_DECISION")
    return lambda channel: CardServiceStub(channel).ResumeCard(request, timeout=_SECONDS)
