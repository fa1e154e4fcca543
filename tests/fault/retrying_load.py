"""Callers of every kind that retry where appropriate, and record the results."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import uuid4

import aiohttp
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1.service_pb2_grpc import OperationServiceStub
from sandbox import Sandbox
from sandbox.gateway import GatewayProcess, credentials
from tests.e2e.watching import EARLIEST
from tests.running import edge_tls, notification_path

__all__ = ["Load"]

_PATIENCE_SECONDS = 30.0
_WATCHERS = 4
_SOME = 100
_PAUSE_SECONDS = 0.01
# gRPC's server uses CANCELLED for calls that arrive just as it starts to drain (grpc/grpc#41785). The Python client
# retries it too, where safe.
_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_RECONNECTING = (
    # Each channel has its own connection, and reconnects quickly.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Load:
    """Calls, callbacks and watches while it runs."""

    def __init__(self, sandbox: Sandbox, gateway: GatewayProcess, *, most_repeats: int = 1) -> None:
        self.done: Counter[str] = Counter()
        """The successes and retries."""
        self.stream_ends: Counter[str] = Counter()
        """The ends of watches, by cause."""
        self.acknowledged: set[str] = set()
        """The operations with a 204."""
        self.received: list[list[str]] = [[] for _ in range(_WATCHERS)]
        """The operations that each watcher received."""
        self._sandbox = sandbox
        self._gateway = gateway
        self._most_repeats = most_repeats
        self._ending = asyncio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Make calls for the duration of the block, then wait until every watcher has what was acknowledged."""
        async with asyncio.TaskGroup() as watching:
            watches = [watching.create_task(self._watch(received)) for received in self.received]
            async with asyncio.TaskGroup() as calling:
                for kept in (True, True, True, False):
                    calling.create_task(self._rpcs(kept=kept))
                    calling.create_task(self._callbacks(kept=kept))
                try:
                    yield
                finally:
                    self._ending.set()
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not all(self.acknowledged <= set(received) for received in self.received):  # noqa: ASYNC110 (lists)
                    await asyncio.sleep(0.1)
            for watch in watches:
                watch.cancel()

    async def goes_on(self) -> None:
        """Wait for some more successes of every kind."""
        enough = {what: self.done[what] + _SOME for what in ("rpcs", "callbacks")}
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while any(self.done[what] < count for what, count in enough.items()):  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0.02)

    def _channel(self) -> grpc.aio.Channel:
        shown = credentials(self._sandbox.pki.server_ca, self._sandbox.pki.caller)
        return grpc.aio.secure_channel(self._gateway.grpc, shown, options=_RECONNECTING)

    async def _rpcs(self, *, kept: bool) -> None:
        while not self._ending.is_set():
            async with self._channel() as channel:
                await self._rpc(channel)
                while kept and not self._ending.is_set():
                    await self._rpc(channel)

    async def _rpc(self, channel: grpc.aio.Channel) -> None:
        request = history_pb2.ListOperationsRequest(card_id="card-active")
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                try:
                    await OperationServiceStub(channel).ListOperations(request, timeout=10)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _RETRIED:
                        raise
                    self.done[f"rpcs {error.code().name}"] += 1
                    await asyncio.sleep(0.05)
                else:
                    self.done["rpcs"] += 1
                    await asyncio.sleep(_PAUSE_SECONDS)
                    return

    async def _callbacks(self, *, kept: bool) -> None:
        connector = aiohttp.TCPConnector(ssl=edge_tls(self._sandbox), force_close=not kept)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
            while not self._ending.is_set():
                operation_id = uuid4().hex
                await self._notify(session, operation_id)
                self.acknowledged.add(operation_id)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _notify(self, session: aiohttp.ClientSession, operation_id: str) -> None:
        for repeats_left in reversed(range(self._most_repeats + 1)):
            try:
                await self._post(session, operation_id)
            except aiohttp.ClientConnectionError:
                if not repeats_left:
                    raise
                self.done["callbacks repeated"] += 1
            else:
                self.done["callbacks"] += 1
                return

    async def _post(self, session: aiohttp.ClientSession, operation_id: str) -> None:
        body = {
            "operationId": operation_id,
            "operation": "3DS_FRICTIONLESS",
            "status": "SUCCESSFUL",
            "startTime": "2022-06-16T06:28:02.492Z",
            "consumerId": "consumer-1",
            "details": {},
        }
        async with session.post(self._gateway.edge + notification_path("card-1"), json=body) as answer:
            assert answer.status == 204

    async def _watch(self, received: list[str]) -> None:
        request = EARLIEST
        async with self._channel() as channel:
            while True:
                watch = NotificationServiceStub(channel).WatchNotifications(request, wait_for_ready=True)
                try:
                    async for batch in watch:
                        received += (each.three_ds_operation.operation_id for each in batch.notifications)
                        request = notification.WatchNotificationsRequest(after_cursor=batch.cursor)
                except grpc.aio.AioRpcError as error:
                    self.stream_ends[_reason(error)] += 1
                finally:
                    watch.cancel()


def _reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a stream's end; without one, the status."""
    status = rpc_status.from_call(cast("grpc.Call", error))
    info = error_details_pb2.ErrorInfo()
    if status is None or not any(detail.Unpack(info) for detail in status.details):
        return error.code().name
    return str(info.reason)
