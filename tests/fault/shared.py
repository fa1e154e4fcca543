"""Gateways that share a NATS server, each in its own process, and their watchers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification, new_details
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage, channel
from sandbox.nats import NatsServer

__all__ = ["Batch", "Shared", "Watcher", "shared"]

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Batch:
    """A message that a watcher received."""

    time: float
    role: "notification.WatcherRole.ValueType"
    fence: int
    cursor: str
    operation_ids: Sequence[str]


@dataclass(slots=True)
class Watcher:
    """A client that watches a subscription and records every message."""

    batches: list[Batch] = field(default_factory=list)
    error: grpc.aio.AioRpcError | None = None
    """The error that ended its stream."""

    @property
    def role(self) -> "notification.WatcherRole.ValueType":
        """Its latest role."""
        return self.batches[-1].role if self.batches else notification.WATCHER_ROLE_UNSPECIFIED

    @property
    def operation_ids(self) -> list[str]:
        """All received operations, in order."""
        return [each for batch in self.batches for each in batch.operation_ids]

    async def becomes(self, role: "notification.WatcherRole.ValueType") -> Batch:
        """Wait until it has a role."""
        await self.until(lambda: self.role == role)
        return self.batches[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on its messages."""
        async with asyncio.timeout(_SECONDS):
            while not condition():
                assert self.error is None, f"the stream ended: {self.error}"
                await asyncio.sleep(0.005)

    async def watch(self, opened: grpc.aio.Channel) -> None:
        """Receive until the stream ends."""
        request = notification.WatchNotificationsRequest(
            subscription="ledger", position=notification.START_POSITION_EARLIEST
        )
        request.heartbeat_interval.FromMilliseconds(200)
        call = NotificationServiceStub(opened).WatchNotifications(request)
        try:
            async for message in call:
                ids = [each.three_ds_operation.operation_id for each in message.notifications]
                self.batches.append(Batch(time.monotonic(), message.role, message.fence, message.cursor, ids))
        except grpc.aio.AioRpcError as error:
            self.error = error
        finally:
            call.cancel()


@dataclass(frozen=True, slots=True)
class Shared:
    """Gateways, each with a watcher of one subscription; the first gateway's watcher is active first."""

    sandbox: Sandbox
    gateways: Sequence[GatewayProcess]
    watchers: Sequence[Watcher]
    channels: Sequence[grpc.aio.Channel]
    _count: list[None] = field(default_factory=list)

    async def notify(self) -> str:
        """Have D1 send a notification to the last gateway; return its operation id."""
        self._count.append(None)
        sent = Notification("card-1", f"op_{len(self._count):05}", datetime.now(UTC), details=new_details())
        assert await self.sandbox.notifier.send(sent) == 204
        return sent.operation_id

    async def notify_for(self, seconds: float) -> list[str]:
        """Have D1 send notifications repeatedly."""
        end, sent = time.monotonic() + seconds, []
        while time.monotonic() < end:
            sent.append(await self.notify())
            await asyncio.sleep(0.01)
        return sent

    async def commit(self, cursor: str) -> None:
        """Commit at the last gateway."""
        request = notification.CommitCursorRequest(subscription="ledger", cursor=cursor)
        await NotificationServiceStub(self.channels[-1]).CommitCursor(request, timeout=_SECONDS)

    async def watcher_count(self) -> int:
        """Return the subscription's number of watchers, as the last gateway reports it."""
        request = notification.GetSubscriptionRequest(subscription="ledger")
        answer = await NotificationServiceStub(self.channels[-1]).GetSubscription(request, timeout=_SECONDS)
        return answer.subscription.watchers


@asynccontextmanager
async def shared(folder: Path, count: int = 2) -> AsyncIterator[Shared]:
    """Run a NATS server, and gateways that share it."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(folder / "keys"))
        nats = await stack.enter_async_context(await NatsServer.start(folder / "nats"))
        storage = SharedStorage.make([nats.url], folder)
        cluster = Shared(sandbox, [], [], [])
        async with asyncio.TaskGroup() as tasks:
            watching = []
            for number in range(count):
                place = folder / f"gateway-{number}"
                place.mkdir()
                config = GatewayConfig.of(sandbox, place, shared=storage)
                gateway = await stack.enter_async_context(await GatewayProcess.start(config, place))
                opened = await stack.enter_async_context(channel(gateway.grpc, sandbox.pki))
                watcher = Watcher()
                watching.append(tasks.create_task(watcher.watch(opened)))
                await watcher.until(lambda watcher=watcher: bool(watcher.batches))  # type: ignore[misc]
                for known, new in zip(
                    (cluster.gateways, cluster.watchers, cluster.channels), (gateway, watcher, opened), strict=True
                ):
                    assert isinstance(known, list)
                    known.append(new)
            sandbox.set_edge(cluster.gateways[-1].edge)
            yield cluster
            for each in watching:
                each.cancel()
