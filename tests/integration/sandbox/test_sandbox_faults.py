"""Faults on demand: to whom they happen, and how often.

That each call can fail, and what a broken connection leaves done, is in tests/contract/test_contract_d1_failures.py.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import pytest

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from sandbox.common.answers import Answer
from sandbox.common.faults import EVERY_ANSWER, EVERY_CALLBACK, Drop, Fault, Faults
from sandbox.common.tls import client_context
from sandbox.d1.acs.purchase import Flow, Status
from sandbox.d1.callbacks.edge_client import EdgeClient, Exchange, NotDeliveredError
from sandbox.d1.model import contract
from sandbox.d1.model.notification import Notification
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import Edge, EdgeServer, buy, until


@pytest.fixture
def faults(caller: Caller) -> Iterator[Faults]:
    yield caller.sandbox.faults
    caller.sandbox.faults.clear()


async def test_faults_happen_in_order_and_as_often_as_set_to_their_operation(faults: Faults, caller: Caller) -> None:
    faults.add(Fault("deleteCard", status=503))
    faults.add(Fault("registerCard", times=2, status=500))
    faults.add(Fault(status=429))
    faults.add(Fault("deleteCard", times=100, status=500))

    assert [(await caller.register()).status for _ in range(4)] == [500, 500, 429, 204]
    assert (await caller.operate("delete", reasonCode="CLOSED_CARD")).status == 503
    faults.clear()
    assert (await caller.operate("delete", reasonCode="CLOSED_CARD")).status == 204


async def test_d1_does_not_act_on_a_call_whose_error_is_truncated(faults: Faults, caller: Caller) -> None:
    await caller.register()
    faults.add(Fault(truncate=True, status=503, body="x" * 20))

    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.operate("suspend", reasonCode="CARD_LOST")

    assert caller.state() == "ACTIVE"


async def test_a_delay_holds_one_call_alone_which_is_done_though_its_caller_has_gone(
    faults: Faults, caller: Caller
) -> None:
    loop = asyncio.get_running_loop()
    faults.add(Fault("registerCard", latency_ms=2_000))
    start = loop.time()
    held = asyncio.create_task(caller.register())
    await until(lambda: not faults._pending)

    assert (await caller.get_token()).status == 200
    assert (held.done(), caller.cards()) == (False, [])
    held.cancel()
    await until(caller.cards)

    assert loop.time() - start >= 2
    assert held.cancelled()


@pytest.mark.parametrize(
    ("fault", "reached", "error"),
    [
        ({"drop": Drop.BEFORE}, 0, "The connection to the edge broke before the request: a fault on demand"),
        ({"drop": Drop.AFTER}, 1, "The connection to the edge broke before the response: a fault on demand"),
        ({"status": 500}, 0, "deliverOtp got HTTP 500"),
        ({"status": 503}, 0, "deliverOtp got HTTP 503, which D1 does not know"),
        ({"latency_ms": 20}, 1, None),
    ],
)
async def test_a_fault_on_d1s_way_to_the_gateway_fails_the_purchase_with_its_reason(
    faults: Faults, edge: Edge, caller: Caller, fault: dict[str, Any], reached: int, error: str | None
) -> None:
    seen: list[Exchange] = []
    caller.sandbox.edge.on_exchange = seen.append
    faults.add(Fault("deliverOtp", **fault))
    purchase = buy(caller.sandbox, caller.name, Flow.SMS_OTP_ISSUER, approves=True)

    assert await purchase.done() is (Status.SUCCESSFUL if error is None else Status.FAILED)
    assert (purchase.error, len(edge.callbacks)) == (error, reached)
    [*_, exchange] = [each for each in seen if each.name == "deliverOtp"]
    assert exchange.fault == Fault("deliverOtp", **fault).what
    assert (exchange.problem or exchange.status) is not None
    assert (await purchase.notified()).status == 204, "the fault is of another call"


async def test_d1_repeats_a_notification_whose_connection_broke_until_it_is_acknowledged(
    faults: Faults, edge: Edge, caller: Caller
) -> None:
    faults.add(Fault("notify3dsOperation", drop=Drop.BEFORE))
    faults.add(Fault(EVERY_CALLBACK, drop=Drop.AFTER))

    purchase = buy(caller.sandbox, caller.name, Flow.FRICTIONLESS)

    assert (await purchase.notified()).status == 204
    assert [call.body["operationId"] for call in edge.notifications] == [purchase.operation_id] * 2


@pytest.mark.parametrize("fault", [{"drop": Drop.FOR_GOOD}, {"status": 400}])
async def test_a_notification_that_d1_loses_or_that_gets_a_400_on_the_way_is_not_repeated_and_is_in_the_history(
    faults: Faults, edge: Edge, caller: Caller, fault: dict[str, Any]
) -> None:
    faults.add(Fault("notify3dsOperation", **fault))

    lost, later = (buy(caller.sandbox, caller.name, Flow.FRICTIONLESS) for _ in range(2))

    assert (await lost.notified()).status is None
    assert (await later.notified()).status == 204
    assert [call.body["operationId"] for call in edge.notifications] == [later.operation_id]
    listed = (await caller.control("GET", f"history?cardId={caller.card_id}")).json["operations"]
    assert {each["operationId"] for each in listed} == {lost.operation_id, later.operation_id}
    everything = (await caller.control("GET", "history")).json["operations"]
    assert [each for each in everything if each["cardId"] == caller.card_id] == listed


async def test_d1_sends_half_of_a_notification_and_nothing_more_after_the_400(
    faults: Faults, edge: Edge, caller: Caller
) -> None:
    notification = Notification(caller.card_id, "op-half", datetime.now(UTC))
    faults.add(Fault("notify3dsOperation", truncate=True))

    assert await caller.sandbox.notifier.send(notification, attempts=3, backoff_seconds=0.01) == 400

    whole = orjson.dumps(notification.body())
    assert [call.body for call in edge.notifications] == [whole[: len(whole) // 2]]


async def test_an_outage_meets_every_call_of_its_operation_until_its_time_is_over(
    faults: Faults, edge: Edge, caller: Caller
) -> None:
    outage = {"operation": EVERY_CALLBACK, "drop": "before", "for_ms": 60_000}
    assert (await caller.control("POST", "faults", outage)).status == 204
    lost = Notification(caller.card_id, "op-lost", datetime.now(UTC))
    with pytest.raises(NotDeliveredError, match="broke before the request"):
        await caller.sandbox.notifier.send(lost, attempts=5, backoff_seconds=0.01)
    assert [(fault.what, left) for fault, left in faults.pending()] == [("dropped, nothing done, for 60 s", None)]

    caller.clock.now += 60

    assert (await buy(caller.sandbox, caller.name, Flow.FRICTIONLESS).notified()).status == 204
    assert (len(edge.notifications), faults.pending()) == (1, ())


async def test_d1_gives_up_a_call_that_is_later_than_its_time_limit_and_which_never_arrives(
    edge_server: EdgeServer, edge: Edge, caller: Caller
) -> None:
    late, pki = Faults(), caller.sandbox.pki
    late.add(Fault(EVERY_CALLBACK, latency_ms=60_000))
    tls = client_context(pki.d1_client, pki.server_ca)
    limited = EdgeClient.run(tls, caller.sandbox.issuer_id, clock=time.time, timeout_seconds=0.2, faults=late)
    async with limited as client:
        client.set_edge(edge_server.url)
        with pytest.raises(NotDeliveredError, match="did not respond in time: a fault on demand"):
            await client.call(
                contract.GET_CONSUMER_INFORMATION, {"consumerId": caller.consumer_id}, correlation_id="op_1"
            )
    assert edge.callbacks == []


@pytest.mark.parametrize(
    ("fault", "refusal", "acted"),
    [
        ({"drop": Drop.BEFORE}, None, 0),
        ({"drop": Drop.AFTER}, None, 1),
        ({"status": 403}, replies.CALLBACK_REFUSAL_REASON_NOT_ALLOWED, 0),
        ({"status": 500, "latency_ms": 10}, replies.CALLBACK_REFUSAL_REASON_FAILED, 0),
    ],
)
async def test_the_sandboxs_handler_stays_silent_or_refuses_on_demand_once(
    faults: Faults, caller: Caller, fault: dict[str, Any], refusal: int | None, acted: int
) -> None:
    issuer, phones, seen = caller.sandbox.issuer, caller.sandbox.phones, list[Answer]()
    issuer.on_answer = seen.append
    request = callback.CallbackRequest(token="1")
    request.deliver_otp.otp = "123456"
    faults.add(Fault(EVERY_ANSWER, **fault))
    before = len(phones.messages())

    reply = await issuer._answer("deliver_otp", request)
    assert (None if reply is None else reply.refusal.reason, len(phones.messages()) - before) == (refusal, acted)
    answer = seen[-1]
    assert (answer.fault, answer.milliseconds is None) == (Fault(EVERY_ANSWER, **fault).what, reply is None)

    reply = await issuer._answer("deliver_otp", request)
    assert reply is not None
    assert reply.HasField("deliver_otp")
