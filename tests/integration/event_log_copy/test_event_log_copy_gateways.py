"""A gateway that moves from its own file to NATS and back, as its subscribers and its operator see it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification, new_details
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage, channel
from sandbox.nats import NatsServer
from tests.e2e.command import Ended, d1_gateway
from tests.e2e.watching import operation_ids, take
from tests.running import failure_of

_SECONDS = 20.0


@dataclass(slots=True)
class _Issuer:
    """An issuer with one gateway at a time, and a service of its that has a subscription."""

    sandbox: Sandbox
    folder: Path
    config: GatewayConfig
    sent: int = 0

    @asynccontextmanager
    async def serving(self, config: GatewayConfig) -> AsyncIterator[grpc.aio.Channel]:
        async with (
            await GatewayProcess.start(config, self.folder) as gateway,
            channel(gateway.grpc, self.sandbox.pki) as opened,
        ):
            self.sandbox.set_edge(gateway.edge)
            yield opened

    async def notify(self, count: int) -> None:
        """Have D1 tell of operations of some cards."""
        for _ in range(count):
            number, self.sent = self.sent, self.sent + 1
            sent = Notification(f"card-{number % 5}", f"op_{number:05}", datetime.now(UTC), details=new_details())
            assert await self.sandbox.notifier.send(sent) == 204

    async def copy(self, source: str, target: str) -> Ended:
        settings = self.folder / "copy.toml"
        settings.write_text(self.config.to_toml())
        return await d1_gateway("log", "copy", "--from", source, "--to", target, "--config", settings)


async def _watched(
    channel: grpc.aio.Channel, request: notification.WatchNotificationsRequest, count: int
) -> tuple[list[int], str]:
    """Receive so many notifications; returns the numbers of their operations, and the cursor after them."""
    request.max_batch_size = 1
    seen = await take(channel, request, lambda seen: len(seen) >= count)
    return [int(each.removeprefix("op_")) for each in operation_ids(seen)], seen[-1].cursor


async def _commit(channel: grpc.aio.Channel, cursor: str) -> None:
    request = notification.CommitCursorRequest(subscription="ledger", cursor=cursor)
    await NotificationServiceStub(channel).CommitCursor(request, timeout=_SECONDS)


async def _made(channel: grpc.aio.Channel) -> None:
    """Make the subscription, from the start of the log."""
    request = notification.ResetSubscriptionRequest(
        subscription="ledger", position=notification.START_POSITION_EARLIEST
    )
    await NotificationServiceStub(channel).ResetSubscription(request, timeout=_SECONDS)


def _subscribed() -> notification.WatchNotificationsRequest:
    return notification.WatchNotificationsRequest(subscription="ledger")


@pytest.mark.timeout(150)
async def test_a_gateway_moves_to_nats_and_back_and_its_subscribers_go_on(tmp_path: Path) -> None:
    async with (
        Sandbox.start(tmp_path / "keys") as sandbox,
        await NatsServer.start(tmp_path / "nats") as server,
    ):
        alone = GatewayConfig.of(sandbox, tmp_path)
        sharing = replace(alone, shared=SharedStorage.make([server.url], tmp_path))
        issuer = _Issuer(sandbox, tmp_path, sharing)

        async with issuer.serving(alone) as opened:
            await issuer.notify(20)
            await _made(opened)
            found, cursor = await _watched(opened, _subscribed(), 12)
            assert found == list(range(12))
            await _commit(opened, cursor)
            since = datetime.now(UTC)
            await issuer.notify(5)
            refused = await issuer.copy("sqlite", "nats")
            assert refused.status == 2
            assert "in use by another process; stop it first" in refused.stderr

        moved = await issuer.copy("sqlite", "nats")
        assert moved.stdout.startswith("copied 25 notifications, 0 already present; 1 subscriptions; ")

        async with issuer.serving(sharing) as opened:
            await issuer.notify(5)
            found, _ = await _watched(opened, _subscribed(), 18)
            assert found == list(range(12, 30)), "what it had not committed, and what came since"
            request = notification.WatchNotificationsRequest()
            request.since_time.FromDatetime(since)
            assert (await _watched(opened, request, 10))[0] == list(range(20, 30))
            unknown = await failure_of(_watched(opened, notification.WatchNotificationsRequest(after_cursor=cursor), 1))
            assert unknown.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "is not from this event log" in unknown.message

            first = await issuer.copy("nats", "sqlite")
            assert first.stdout.startswith("copied 5 notifications, 25 already present; 1 subscriptions; ")
            await issuer.notify(3)
            _, cursor = await _watched(opened, _subscribed(), 20)
            await _commit(opened, cursor)

        second = await issuer.copy("nats", "sqlite")
        assert second.stdout.startswith("copied 3 notifications, 30 already present; 1 subscriptions; ")

        async with issuer.serving(alone) as opened:
            await issuer.notify(1)
            assert (await _watched(opened, _subscribed(), 2))[0] == [32, 33]
            everything = notification.WatchNotificationsRequest(position=notification.START_POSITION_EARLIEST)
            assert (await _watched(opened, everything, 34))[0] == list(range(34))
