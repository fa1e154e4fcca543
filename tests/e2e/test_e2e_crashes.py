import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification
from sandbox.gateway import GatewayProcess
from tests.e2e.d1_load import Load
from tests.e2e.watching import connect, follow, operation_ids, take

_KILLS = 20
_LAST = Notification("card_last", "op_last", datetime(2026, 1, 31, tzinfo=UTC))


async def _kill(gateway: GatewayProcess, chance: random.Random) -> None:
    """Kill it and wait until it is back; one time in four kill it once more while it starts."""
    limit = chance.uniform(0.2, 0.8) if chance.random() < 0.25 else None
    with suppress(TimeoutError):
        async with asyncio.timeout(limit):
            return await gateway.restart()
    return await gateway.restart()


# 20 to 40 s; two cores that others use as well can take several times as long.
@pytest.mark.timeout(300)
async def test_through_twenty_kills_every_acknowledged_notification_is_delivered_once_and_in_order(
    sandbox: Sandbox, gateway: GatewayProcess, seed: str
) -> None:
    load = Load(sandbox.notifier, seed)
    chance = random.Random(seed)  # noqa: S311 - no secret
    async with connect(gateway.grpc, sandbox.pki) as channel, asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(follow(channel, _LAST.operation_id))
        async with load.run(cards=8, bursts=2):
            for _ in range(_KILLS):
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                await _kill(gateway, chance)
        assert await load.send(_LAST)
        followed = operation_ids(await follower)
        stored = await follow(channel, _LAST.operation_id)

    assert load.unanswered > 0, "no kill hit the load"
    load.assert_stored(stored)
    assert followed == operation_ids(stored), "the watcher that came back missed something, or saw it out of order"


async def test_a_named_subscription_resumes_at_its_committed_cursor_after_a_kill(
    sandbox: Sandbox, gateway: GatewayProcess
) -> None:
    load = Load(sandbox.notifier, "")
    sent = [Notification("card_1", f"op_{place}", datetime.now(UTC)) for place in range(5)]
    request = notification.WatchNotificationsRequest(subscription="ledger")
    async with connect(gateway.grpc, sandbox.pki) as channel:
        for each in sent:
            assert await load.send(each)
        subscriptions = NotificationServiceStub(channel)
        await subscriptions.ResetSubscription(
            notification.ResetSubscriptionRequest(subscription="ledger", position=notification.START_POSITION_EARLIEST),
            timeout=5,
        )
        first = await take(channel, request, lambda seen: len(seen) == len(sent))
        await subscriptions.CommitCursor(
            notification.CommitCursorRequest(subscription="ledger", cursor=first[1].cursor), timeout=5
        )
        await gateway.restart()
        again = await take(channel, request, lambda seen: "op_4" in operation_ids(seen))
        answer = await subscriptions.GetSubscription(
            notification.GetSubscriptionRequest(subscription="ledger"), timeout=5
        )

    assert operation_ids(first) == [each.operation_id for each in sent]
    assert again == first[2:], "what was delivered but not committed comes again, as it was"
    assert answer.subscription.committed_cursor == first[1].cursor
    assert answer.subscription.lag == 3
