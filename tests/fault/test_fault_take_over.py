"""The active watcher's gateway hangs while notifications arrive, and wakes: another watcher has taken over.

That a killed gateway's subscription is taken over within five seconds, and a draining one's at once, is in
`tests/fault/cluster/test_cluster_faults.py`.
"""

import asyncio
import time
from pathlib import Path

import grpc
import pytest

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.nats import NatsServer
from tests.e2e.watching import operation_ids
from tests.fault.cluster.following import batches, watch_request
from tests.fault.faulty import until
from tests.fault.processes import processes

_ACTIVE, _STANDBY = notification.WATCHER_ROLE_ACTIVE, notification.WATCHER_ROLE_STANDBY
_TAKE_OVER_SECONDS = 5.0
"""What docs/cluster.md promises."""
_NAME = "ledger"


class _Watcher:
    """A client that watches the subscription and records every message, with its time."""

    def __init__(self) -> None:
        self.batches: list[notification.WatchNotificationsResponse] = []
        self.times: list[float] = []

    @property
    def role(self) -> "notification.WatcherRole.ValueType":
        return self.batches[-1].role if self.batches else notification.WATCHER_ROLE_UNSPECIFIED

    @property
    def operation_ids(self) -> list[str]:
        return [each for batch in self.batches for each in operation_ids(batch.notifications)]

    async def watch(self, channel: grpc.aio.Channel) -> None:
        async for message in batches(channel, watch_request(subscription=_NAME)):
            self.batches.append(message)
            self.times.append(time.monotonic())
        raise AssertionError("the stream ended")


async def _watcher_count(channel: grpc.aio.Channel) -> int:
    request = notification.GetSubscriptionRequest(subscription=_NAME)
    response = await NotificationServiceStub(channel).GetSubscription(request, timeout=30)
    return response.subscription.watcher_count


@pytest.mark.timeout(120)
async def test_a_gateway_that_was_stopped_sends_nothing_more_as_active(tmp_path: Path) -> None:
    async with (
        await NatsServer.start(tmp_path / "nats") as nats,
        processes(tmp_path, 2, [nats.url]) as gateways,
        asyncio.TaskGroup() as tasks,
    ):
        old, new = _Watcher(), _Watcher()
        watching = []
        for watcher, channel in zip((old, new), gateways.channels, strict=True):
            watching.append(tasks.create_task(watcher.watch(channel)))
            await until(lambda watcher=watcher: bool(watcher.batches))  # type: ignore[misc]
        assert (old.role, new.role, await _watcher_count(gateways.channels[1])) == (_ACTIVE, _STANDBY, 2)
        async with gateways.notifying() as before:
            await until(lambda: sum(bool(batch.notifications) for batch in old.batches) > 2)
            # In the midst of what it sends.
            gateways.pause(0)
        stopped = time.monotonic()
        async with gateways.notifying() as meanwhile:
            await until(lambda: new.role == _ACTIVE)
            await asyncio.sleep(0.5)
        taken_over = next(place for place, batch in enumerate(new.batches) if batch.role == _ACTIVE)
        assert new.times[taken_over] - stopped < _TAKE_OVER_SECONDS
        silent_from = len(old.batches)
        gateways.resume(0)
        async with gateways.notifying() as after:
            await until(lambda: old.role == _STANDBY)
            await asyncio.sleep(1.0)
        await until(lambda: after[-1] in new.operation_ids)

        late = old.batches[silent_from:]
        # What was on its way when it was stopped may come; nothing that was put together afterwards.
        assert not {each for batch in late for each in operation_ids(batch.notifications)} & {*meanwhile, *after}
        roles = [batch.role for batch in late]
        assert roles == sorted(roles), "it was active again after it stood by"
        fencing_token = new.batches[taken_over].fencing_token
        assert max(batch.fencing_token for batch in old.batches) < fencing_token
        assert {batch.fencing_token for batch in new.batches if batch.notifications} == {fencing_token}
        assert new.operation_ids == [*before, *meanwhile, *after], "nothing was committed, so all is delivered again"
        assert (old.role, new.role, await _watcher_count(gateways.channels[1])) == (_STANDBY, _ACTIVE, 2)
        for watch in watching:
            watch.cancel()
