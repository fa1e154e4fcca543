"""The counters of a running gateway move, and have no ids in their labels."""

from contextlib import suppress
from functools import partial
from uuid import UUID

import grpc
import pytest

from gateway.idempotency.replies import IdempotencyOutcome
from issuer.callback.v1 import messages_pb2 as callback
from issuer.card.v1 import messages_pb2 as card
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.handler import Handler, Responder
from tests.callback_replies import reject, tell_person
from tests.contract.card_rpcs import prepare
from tests.integration.telemetry.operator_view import NOTIFICATION_ROUTE, OperatorView

SUSPEND = "issuer.card.v1.CardService/SuspendCard"
SUSPEND_AT_D1 = "POST /banking/v2/issuers/{issuer_id}/cards/{card_id}/operations:suspend"
WATCH = "issuer.notification.v1.NotificationService/WatchNotifications"
CONSUMER = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-77"


async def suspend(view: OperatorView, card_id: str) -> grpc.StatusCode:
    request = card.SuspendCardRequest(card_id=card_id, reason_code="FRAUD")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await view.running.cards.SuspendCard(request)
    return caught.value.code()


async def test_an_rpc_is_counted_and_so_is_the_request_that_it_makes(view: OperatorView) -> None:
    before = await view.scrape()
    assert await suspend(view, "card-unknown") is grpc.StatusCode.NOT_FOUND

    found = await view.scrape()
    assert found.growth(before, "rpcs_total", rpc=SUSPEND, code="NOT_FOUND") == 1
    failed = {"rpc": SUSPEND, "reason": "UPSTREAM_NOT_FOUND", "outcome": "REJECTED"}
    assert found.growth(before, "rpc_failures_total", **failed) == 1
    assert found.growth(before, "rpc_duration_seconds_count", rpc=SUSPEND) == 1
    sent = {"upstream": "d1", "endpoint": SUSPEND_AT_D1, "result": "4xx"}
    assert found.growth(before, "upstream_requests_total", **sent) == 1
    assert found.value("rpcs_in_flight", rpc=SUSPEND) == 0


async def test_an_rpc_that_there_is_not_is_counted_without_its_name(view: OperatorView) -> None:
    before = await view.scrape()
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = view.running.channel.unary_unary("/4111111111111111/Guess")
    with pytest.raises(grpc.aio.AioRpcError):
        await call(b"")

    found = await view.scrape()
    assert found.growth(before, "rpcs_total", rpc="unknown", code="UNIMPLEMENTED") == 1
    assert "4111" not in found.text


async def test_a_stream_is_open_until_its_caller_leaves(view: OperatorView) -> None:
    before = await view.scrape()
    call = view.running.notifications.WatchNotifications(notification.WatchNotificationsRequest())
    await call.read()
    await view.until("streams_open", 1, rpc=WATCH)
    call.cancel()
    await view.until("streams_open", 0, rpc=WATCH)

    found = await view.scrape()
    assert found.growth(before, "rpcs_total", rpc=WATCH, code="CANCELLED") == 1
    assert found.value("rpc_duration_seconds_count", rpc=WATCH) == 0, "how long a stream stays open is no latency"


async def test_a_notification_is_counted_on_its_way_from_the_edge_to_the_stream(own_view: OperatorView) -> None:
    view = own_view
    assert [await view.notify("op-1"), await view.notify("op-1"), await view.notify("op-2")] == [204] * 3
    assert await view.call("POST", "/notifications/no/such/path", {}) == 404
    watch = notification.WatchNotificationsRequest(position=notification.START_POSITION_EARLIEST, subscription="ledger")
    call = view.running.notifications.WatchNotifications(watch)
    await call.read()
    await call.read()

    found = await view.scrape()
    assert found.value("edge_requests_total", route=NOTIFICATION_ROUTE, method="POST", status="204") == 3
    assert found.value("edge_request_duration_seconds_count", route=NOTIFICATION_ROUTE, status="204") == 3
    assert found.value("edge_requests_total", route="unknown", method="POST", status="404") == 1
    assert found.value("event_log_appends_total", outcome="stored") == 2
    assert found.value("event_log_appends_total", outcome="duplicate") == 1
    assert found.value("event_log_append_duration_seconds_count") == 3
    assert found.value("event_log_last_sequence") == 2
    assert found.value("event_log_size_bytes") > 0
    assert found.value("notifications_delivered_total") == 2
    assert found.value("subscription_lag", issuer="SANDBOX001", subscription="ledger") == 2
    call.cancel()


async def test_a_callback_is_counted_by_its_outcome(view: OperatorView) -> None:
    kind = "consumer_information"
    open_while_pending = []

    async def watched(request: callback.CallbackRequest, response: Responder) -> callback.CallbackReply | None:
        open_while_pending.append((await view.scrape()).value("callbacks_open", kind=kind))
        return await response(request)

    before = await view.scrape()
    for response in (tell_person, reject):
        async with Handler.connect(view.running.channel, {kind: partial(watched, response=response)}):
            await view.until("handlers_connected", 1, kind=kind)
            await view.call("GET", CONSUMER)
        await view.until("handlers_connected", 0, kind=kind)
    assert await view.call("GET", CONSUMER) == 500

    found = await view.scrape()
    for outcome in ("answered", "refused", "no_handler"):
        assert found.growth(before, "callbacks_total", kind=kind, outcome=outcome) == 1
        assert found.growth(before, "callback_duration_seconds_count", kind=kind, outcome=outcome) == 1
    assert (open_while_pending, found.value("callbacks_open", kind=kind)) == ([1, 1], 0)


async def test_a_repeat_is_counted_as_replayed(view: OperatorView) -> None:
    prepare(view.running.sandbox.store)
    before = await view.scrape()
    for reason_code in ("FRAUD", "FRAUD", "LOST"):
        request = card.SuspendCardRequest(card_id="card-active", reason_code=reason_code, request_id=str(UUID(int=7)))
        with suppress(grpc.aio.AioRpcError):
            await view.running.cards.SuspendCard(request)

    found = await view.scrape()
    outcomes = {each: found.growth(before, "idempotent_requests_total", outcome=each) for each in IdempotencyOutcome}
    assert outcomes == {each: each in {"first", "replayed", "conflict"} for each in IdempotencyOutcome}


async def test_what_happens_for_the_first_time_makes_a_series_grow_and_no_new_one(own_view: OperatorView) -> None:
    names = {sample.name for sample in (await own_view.scrape()).all if sample.value == 0}

    assert {
        "d1_gateway_callback_replies_total",
        "d1_gateway_callbacks_total",
        "d1_gateway_detached_calls_total",
        "d1_gateway_edge_connections_refused_total",
        "d1_gateway_event_log_appends_total",
        "d1_gateway_idempotent_requests_total",
        "d1_gateway_log_lines_lost_total",
    } <= names


async def test_no_label_holds_an_id_or_a_word_of_a_caller(own_view: OperatorView) -> None:
    view = own_view
    await suspend(view, "card-4711")
    await view.notify("op-4711", "card-4711")
    await view.notify("op-4711", "4111111111111111")
    await view.call("GET", CONSUMER)
    await view.call("GET", "/card-4711")
    await view.call("PROPFIND", CONSUMER)

    found = await view.scrape()
    assert not [word for word in ("4711", "4111", "consumer-77", "SANDBOX001") if word in found.text]
    assert found.value("edge_requests_total", route="unknown", method="other", status="405") == 1
