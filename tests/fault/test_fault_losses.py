"""NATS comes back without what it took last, under gateways that run on: what comes after that is all delivered."""

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from d1_gateway_client import AsyncGatewayClient, errors
from d1_gateway_client.contracts.issuer.notification.v1 import StartPosition
from sandbox.nats import NatsServer
from tests.clients.client_gateways import options_for
from tests.fault.faulty import until
from tests.fault.processes import processes


async def _receive(client: AsyncGatewayClient, received: list[str]) -> None:
    """Receive without an end, as a service that commits each notification."""
    async with client.notifications.watch(
        subscription="audit", position=StartPosition.EARLIEST, heartbeat_seconds=1
    ) as watch:
        async for notification in watch:
            assert notification.three_ds_operation
            received.append(notification.three_ds_operation.operation_id)
            # What cannot be committed is delivered again.
            with suppress(errors.GatewayError):
                await watch.commit(notification)


@pytest.mark.timeout(180)
async def test_what_comes_after_nats_has_lost_its_newest_is_delivered_by_gateways_that_ran_on(tmp_path: Path) -> None:
    received: list[str] = []
    # D1 calls the last one, the subscriber is connected to the first.
    async with (
        await NatsServer.start(tmp_path / "nats") as nats,
        processes(tmp_path, 2, [nats.url]) as cluster,
        AsyncGatewayClient(options_for(cluster.gateways[0].grpc, cluster.sandbox.pki)) as client,
        asyncio.TaskGroup() as tasks,
    ):
        receiving = tasks.create_task(_receive(client, received))

        async def delivered(count: int) -> list[str]:
            sent = [await cluster.notify() for _ in range(count)]
            await until(lambda: set(sent) <= set(received))
            return sent

        await delivered(11)
        await nats.stop()
        shutil.copytree(nats.folder, tmp_path / "copy")
        await nats.restart()
        await delivered(5)
        await nats.kill()
        shutil.rmtree(nats.folder)
        (tmp_path / "copy").rename(nats.folder)
        await nats.restart()

        after = await delivered(7)
        receiving.cancel()

    first = [received.index(each) for each in after]
    assert first == sorted(first), "what came after is out of order"
    for gateway in cluster.gateways:
        lines = map(orjson.loads, gateway.log.read_bytes().splitlines())
        assert [line["level"] for line in lines if line["event"] == "newest_notifications_lost"] == ["error"]
