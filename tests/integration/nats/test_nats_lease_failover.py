"""Leases while the servers change their leader."""

import asyncio
import secrets
import time
from pathlib import Path

import pytest

from adapters.nats import NatsStorage
from gateway.ports import Lease
from gateway.settings import NatsSettings
from sandbox.nats import NatsCluster

ISSUER, NAME = "ISSUER0001", "fraud"


class Watching:
    """A gateway's watcher, which competes whenever it has no lease."""

    def __init__(self, storage: NatsStorage) -> None:
        self.storage = storage
        self.leases: list[Lease] = []

    @property
    def is_active(self) -> bool:
        return bool(self.leases) and self.leases[-1].is_held()

    async def compete(self) -> None:
        self.storage.leases.set_watchers(ISSUER, NAME, 1)
        while True:
            lost = asyncio.Event()
            lease = await self.storage.leases.acquire(ISSUER, NAME, lost.set)
            if lease is None:
                await self.storage.leases.wait_free(ISSUER, NAME)
            else:
                self.leases.append(lease)
                await lost.wait()


@pytest.mark.timeout(120)
async def test_never_are_two_active_while_leaders_die_one_after_the_other(tmp_path: Path) -> None:
    async with await NatsCluster.start(tmp_path) as cluster:
        settings = NatsSettings(servers=cluster.urls, prefix=f"test-{secrets.token_hex(4)}", replicas=3)
        stream = f"KV_{settings.prefix}-leases"
        watching = [Watching(await NatsStorage.open(settings)) for _ in range(3)]
        competing = [asyncio.create_task(each.compete()) for each in watching]
        most = 0
        for _ in range(3):
            await _until_somebody_is_active(watching)
            while (leader := await cluster.leader(stream)) is None:  # noqa: ASYNC110  it has to be asked
                await asyncio.sleep(0.05)
            await leader.kill()
            end = time.monotonic() + 3.0
            while time.monotonic() < end:
                most = max(most, sum(each.is_active for each in watching))
                await asyncio.sleep(0.002)
            await leader.restart()
        await _until_somebody_is_active(watching)

        tokens = [lease.fencing_token for each in watching for lease in each.leases]
        assert most == 1
        assert len(set(tokens)) == len(tokens)
        for each in watching:
            own = [lease.fencing_token for lease in each.leases]
            assert own == sorted(own)
        for task in competing:
            task.cancel()
        await asyncio.gather(*competing, return_exceptions=True)
        for each in watching:
            await each.storage.close()


async def _until_somebody_is_active(watching: list[Watching]) -> None:
    async with asyncio.timeout(20):
        while not any(each.is_active for each in watching):  # noqa: ASYNC110  to be asked, too
            await asyncio.sleep(0.01)
