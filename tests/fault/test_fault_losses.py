"""NATS comes back without what it took last, under gateways that run on: what comes after that is all delivered."""

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from d1_gateway_client import AsyncGatewayClient, errors
from d1_gateway_client.contracts.issuer.notification.v1 import StartPosition
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification, new_details
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage
from sandbox.nats import NatsServer
from tests.clients.client_gateways import options_for

_SECONDS = 40.0
_NOTICED = "newest_notifications_lost"


class Subscriber:
    """A service that commits what it receives."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def run(self, client: AsyncGatewayClient) -> None:
        watching = client.notifications.watch(
            subscription="audit", position=StartPosition.EARLIEST, heartbeat_seconds=1
        )
        async with watching as watch:
            async for notification in watch:
                assert notification.three_ds_operation
                self.received.append(notification.three_ds_operation.operation_id)
                # What cannot be committed is delivered again.
                with suppress(errors.GatewayError):
                    await watch.commit(notification)

    async def has(self, operation_ids: Sequence[str]) -> None:
        async with asyncio.timeout(_SECONDS):
            # Each is received at another moment, and nothing tells of it.
            while not set(operation_ids) <= set(self.received):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def notify(sandbox: Sandbox, *operation_ids: str) -> None:
    """Have D1 notify, and try again for as long as that is refused."""
    for operation_id in operation_ids:
        sent = Notification("card-1", operation_id, datetime.now(UTC), details=new_details())
        async with asyncio.timeout(_SECONDS):
            while await sandbox.notifier.send(sent) != 204:  # noqa: ASYNC110 (D1 tries again, too)
                await asyncio.sleep(0.1)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}_{number:05}" for number in range(count)]


@pytest.mark.timeout(180)
async def test_what_comes_after_nats_has_lost_its_newest_is_delivered_by_gateways_that_ran_on(tmp_path: Path) -> None:
    kept, lost, after = names("kept", 11), names("lost", 5), names("after", 7)
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(tmp_path / "keys"))
        nats = await stack.enter_async_context(await NatsServer.start(tmp_path / "nats"))
        storage, gateways = SharedStorage.make([nats.url], tmp_path), []
        for number in range(2):
            place = tmp_path / f"gateway-{number}"
            place.mkdir()
            config = GatewayConfig.of(sandbox, place, shared=storage)
            gateways.append(await stack.enter_async_context(await GatewayProcess.start(config, place)))
        # D1 calls the first one, the subscriber is connected to the other.
        sandbox.set_edge(gateways[0].edge)
        client = await stack.enter_async_context(AsyncGatewayClient(options_for(gateways[1].grpc, sandbox.pki)))
        subscriber = Subscriber()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(subscriber.run(client))
            await notify(sandbox, *kept)
            await subscriber.has(kept)
            await nats.stop()
            shutil.copytree(nats.folder, tmp_path / "copy")
            await nats.restart()
            await notify(sandbox, *lost)
            await subscriber.has(lost)
            await nats.kill()
            shutil.rmtree(nats.folder)
            (tmp_path / "copy").rename(nats.folder)
            await nats.restart()

            await notify(sandbox, *after)
            await subscriber.has(after)
            running.cancel()

        first = [subscriber.received.index(each) for each in after]
        assert first == sorted(first), "what came after is out of order"
        for gateway in gateways:
            told = [
                line for line in map(orjson.loads, gateway.log.read_bytes().splitlines()) if line["event"] == _NOTICED
            ]
            assert [line["level"] for line in told] == ["error"]
