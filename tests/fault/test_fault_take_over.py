"""The active watcher's gateway is killed, stopped and drained while notifications arrive; another one takes over."""

import asyncio
import os
import signal
import time
from pathlib import Path

import grpc
import pytest

from issuer.notification.v1 import messages_pb2 as notification
from tests.fault.shared import Batch, Watcher, shared

_ACTIVE, _STANDBY = notification.WATCHER_ROLE_ACTIVE, notification.WATCHER_ROLE_STANDBY
_TAKE_OVER_SECONDS = 5.0


def _delivering(watcher: Watcher) -> list[Batch]:
    return [batch for batch in watcher.batches if batch.operation_ids]


@pytest.mark.timeout(120)
async def test_a_killed_gateways_subscription_is_taken_over_within_five_seconds(tmp_path: Path) -> None:
    async with shared(tmp_path) as cluster:
        (old, new), (gateway, _) = cluster.watchers, cluster.gateways
        assert (old.role, new.role, await cluster.watcher_count()) == (_ACTIVE, _STANDBY, 2)
        sent = await cluster.notify_for(0.5)
        await old.until(lambda: old.operation_ids == sent)
        committed = _delivering(old)[0]
        await cluster.commit(committed.cursor)

        notifying = asyncio.create_task(cluster.notify_for(6.0))
        killed = time.monotonic()
        await gateway.kill()
        begin = await new.becomes(_ACTIVE)
        assert time.monotonic() - killed < _TAKE_OVER_SECONDS
        sent += await notifying
        await new.until(lambda: new.operation_ids[-1] == sent[-1])

        assert old.error is not None
        assert old.error.code() is grpc.StatusCode.UNAVAILABLE
        assert begin.fence > committed.fence
        assert begin.cursor == committed.cursor
        assert new.operation_ids == sent[len(committed.operation_ids) :], "something is missing, double or out of order"
        assert await cluster.watcher_count() == 1


@pytest.mark.timeout(120)
async def test_a_gateway_that_was_stopped_sends_nothing_more_as_active(tmp_path: Path) -> None:
    async with shared(tmp_path) as cluster:
        (old, new), (gateway, _) = cluster.watchers, cluster.gateways
        before = await cluster.notify_for(0.5)
        await old.until(lambda: bool(_delivering(old)))

        # In the midst of what it sends.
        os.kill(gateway.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            meanwhile = await cluster.notify_for(8.0)
            taken_over = next(batch for batch in new.batches if batch.role == _ACTIVE)
            assert taken_over.time - stopped < _TAKE_OVER_SECONDS
            silent_from = len(old.batches)
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
        after = await cluster.notify_for(2.0)
        await old.becomes(_STANDBY)
        await new.until(lambda: new.operation_ids[-1] == after[-1])

        late = old.batches[silent_from:]
        # What was on its way when it was stopped may come; nothing that was put together afterwards.
        assert not {each for batch in late for each in batch.operation_ids} & {*meanwhile, *after}
        roles = [batch.role for batch in late]
        assert roles == sorted(roles), "it was active again after it stood by"
        assert max(batch.fence for batch in old.batches) < taken_over.fence
        assert {batch.fence for batch in _delivering(new)} == {taken_over.fence}
        assert new.operation_ids == [*before, *meanwhile, *after], "nothing was committed, so all is delivered again"
        assert (old.error, new.error) == (None, None)
        assert (old.role, new.role, await cluster.watcher_count()) == (_STANDBY, _ACTIVE, 2)


@pytest.mark.timeout(120)
async def test_a_gateway_that_drains_hands_over_at_once(tmp_path: Path) -> None:
    async with shared(tmp_path) as cluster:
        (old, new), (gateway, _) = cluster.watchers, cluster.gateways
        sent = await cluster.notify_for(0.3)
        await old.until(lambda: old.operation_ids == sent)

        ended = time.monotonic()
        stopping = asyncio.create_task(gateway.stop())
        begin = await new.becomes(_ACTIVE)

        # Long before the silence after which a gateway is taken for dead.
        assert time.monotonic() - ended < 2.5
        assert begin.fence > max(batch.fence for batch in old.batches)
        await new.until(lambda: new.operation_ids == sent)
        assert await stopping == 0
