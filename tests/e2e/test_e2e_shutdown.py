import asyncio
import time
from datetime import UTC, datetime

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import Operation
from sandbox.d1.model.notification import Notification
from sandbox.gateway import GatewayProcess
from tests.contract.request_ids import until_held
from tests.e2e.calls import register
from tests.e2e.d1_load import Load
from tests.e2e.watching import EARLIEST, connect, follow, operation_ids, take
from tests.running import failure_of

_GRACE_SECONDS = 10.0
"""The gateway's `drain_grace_seconds` as shipped."""
_LOADED = 20
"""Notifications with a 204 before the signal."""
_LAST = Notification("card_last", "op_last", datetime(2026, 1, 31, tzinfo=UTC))


async def test_sigterm_under_load_finishes_what_is_in_flight_and_loses_nothing_acknowledged(
    sandbox: Sandbox, gateway: GatewayProcess, seed: str
) -> None:
    load = Load(sandbox.notifier, seed)
    async with connect(gateway.grpc, sandbox.pki) as channel, asyncio.TaskGroup() as tasks:
        await register(channel, "card_1")
        watches = [tasks.create_task(failure_of(take(channel, EARLIEST, lambda _: False))) for _ in range(3)]
        async with load.run(cards=6, bursts=2):
            while sum(map(len, load.acknowledged.values())) < _LOADED:  # noqa: ASYNC110 (many sources, no common event)
                await asyncio.sleep(0.01)
            sandbox.faults.add(Fault(operation=Operation.SUSPEND_CARD, latency_ms=1500))
            request = card.SuspendCardRequest(card_id="card_1", reason_code="USER_DECISION")
            suspension = CardServiceStub(channel).SuspendCard(request, timeout=10)
            await until_held(sandbox)
            assert not suspension.done()
            began = time.monotonic()
            exit_status = await gateway.stop()
            took = time.monotonic() - began
            await gateway.restart()
        assert await load.send(_LAST)
        delivered = operation_ids(await follow(channel, _LAST.operation_id))
        assert await suspension == card.SuspendCardResponse()

    assert exit_status == 0
    assert took < _GRACE_SECONDS
    assert [watch.result().reason for watch in watches] == ["SERVER_DRAINING"] * 3
    assert len(set(delivered)) == len(delivered), "something was delivered twice"
    assert {each for of_card in load.acknowledged.values() for each in of_card} <= set(delivered)
