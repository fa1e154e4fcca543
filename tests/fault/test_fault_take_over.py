"""The active watcher's gateway is killed, stopped and drained while notifications arrive; another one takes over."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from adapters.nats.leases.session import SILENT_SECONDS
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.nats import NatsServer
from tests.fault.processes import Processes, processes
from tests.fault.watchers import Batch, Watcher, watched

pytestmark = pytest.mark.timeout(120)

_ACTIVE, _STANDBY = notification.WATCHER_ROLE_ACTIVE, notification.WATCHER_ROLE_STANDBY
_TAKE_OVER_SECONDS = 5.0
"""What docs/cluster.md promises."""
_OLD = 0
"""The gateway of the watcher that is active first."""


@pytest.fixture(scope="module")
async def gateways_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    folder = tmp_path_factory.mktemp("gateways")
    async with await NatsServer.start(folder / "nats") as nats, processes(folder, 2, [nats.url]) as started:
        yield started


@pytest.fixture
async def gateways(gateways_of_module: Processes) -> Processes:
    await gateways_of_module.heal()
    return gateways_of_module


def _delivering(watcher: Watcher) -> list[Batch]:
    return [batch for batch in watcher.batches if batch.operation_ids]


async def test_a_killed_gateways_subscription_is_taken_over_within_five_seconds(gateways: Processes) -> None:
    async with watched(gateways.channels) as subscription:
        old, new = subscription.watchers
        assert (old.role, new.role, await subscription.watcher_count()) == (_ACTIVE, _STANDBY, 2)
        async with gateways.notifying() as before:
            await old.until(lambda: len(_delivering(old)) > 2)
        await old.until(lambda: old.operation_ids == before)
        committed = _delivering(old)[0]
        await subscription.commit(committed.cursor)

        async with gateways.notifying() as meanwhile:
            killed = time.monotonic()
            await gateways.kill(_OLD)
            begin = await new.becomes(_ACTIVE)
            assert time.monotonic() - killed < _TAKE_OVER_SECONDS
            await asyncio.sleep(0.3)
        sent = [*before, *meanwhile]
        await new.receives(sent[-1])

        assert old.error is not None
        assert old.error.code() is grpc.StatusCode.UNAVAILABLE
        assert begin.fence > committed.fence
        assert begin.cursor == committed.cursor
        assert new.operation_ids == sent[len(committed.operation_ids) :], "something is missing, double or out of order"
        assert await subscription.watcher_count() == 1


async def test_a_gateway_that_was_stopped_sends_nothing_more_as_active(gateways: Processes) -> None:
    async with watched(gateways.channels) as subscription:
        old, new = subscription.watchers
        async with gateways.notifying() as before:
            await old.until(lambda: len(_delivering(old)) > 2)
            # In the midst of what it sends.
            gateways.pause(_OLD)
        stopped = time.monotonic()
        async with gateways.notifying() as meanwhile:
            await new.becomes(_ACTIVE)
            await asyncio.sleep(0.5)
        taken_over = next(batch for batch in new.batches if batch.role == _ACTIVE)
        assert taken_over.time - stopped < _TAKE_OVER_SECONDS
        silent_from = len(old.batches)
        gateways.resume(_OLD)
        async with gateways.notifying() as after:
            await old.becomes(_STANDBY)
            await asyncio.sleep(1.0)
        await new.receives(after[-1])

        late = old.batches[silent_from:]
        # What was on its way when it was stopped may come; nothing that was put together afterwards.
        assert not {each for batch in late for each in batch.operation_ids} & {*meanwhile, *after}
        roles = [batch.role for batch in late]
        assert roles == sorted(roles), "it was active again after it stood by"
        assert max(batch.fence for batch in old.batches) < taken_over.fence
        assert {batch.fence for batch in _delivering(new)} == {taken_over.fence}
        assert new.operation_ids == [*before, *meanwhile, *after], "nothing was committed, so all is delivered again"
        assert (old.error, new.error) == (None, None)
        assert (old.role, new.role, await subscription.watcher_count()) == (_STANDBY, _ACTIVE, 2)


async def test_a_gateway_that_drains_hands_over_at_once(gateways: Processes) -> None:
    async with watched(gateways.channels) as subscription:
        old, new = subscription.watchers
        sent = [await gateways.notify() for _ in range(10)]
        await old.until(lambda: old.operation_ids == sent)

        ended = time.monotonic()
        stopping = asyncio.create_task(gateways.stop(_OLD))
        begin = await new.becomes(_ACTIVE)

        # Before the silence after which a gateway counts as dead.
        assert time.monotonic() - ended < SILENT_SECONDS
        assert begin.fence > max(batch.fence for batch in old.batches)
        await new.until(lambda: new.operation_ids == sent)
        assert await stopping == 0
