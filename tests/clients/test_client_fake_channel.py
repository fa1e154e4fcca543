"""The blocking client over grpcio-testing's channel: a service's own tests need no server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status

from d1_gateway_client import GatewayClient, Options, errors
from d1_gateway_client.contracts.issuer.card.v1 import CreateCardRequest, CreateCardResponse
from d1_gateway_client.contracts.issuer.notification.v1 import Notification, WatcherRole, WatchNotificationsResponse
from gateway.errors import GatewayError
from issuer.card.v1 import service_pb2 as card
from issuer.common.v1 import error_pb2
from issuer.common.v1.error_pb2 import ErrorDetail
from issuer.notification.v1 import service_pb2 as notification
from tests.clients.client_gateways import CORRELATION_ID

CARDS = card.DESCRIPTOR.services_by_name["CardService"]
NOTIFICATIONS = notification.DESCRIPTOR.services_by_name["NotificationService"]
WATCH = NOTIFICATIONS.methods_by_name["WatchNotifications"]
CREATE = CARDS.methods_by_name["CreateCard"]
REGISTER = CARDS.methods_by_name["RegisterCard"]

OVERLOADED = GatewayError(
    error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, "busy", outcome=error_pb2.ERROR_OUTCOME_UNKNOWN
).to_status(CORRELATION_ID)


@pytest.fixture
def channel() -> Any:
    return grpc_testing.channel([CARDS, NOTIFICATIONS], grpc_testing.strict_real_time())


@pytest.fixture
def client(channel: Any) -> Iterator[GatewayClient]:
    with GatewayClient(Options(address="nowhere:1", token="t-1"), channel=channel) as made:
        yield made


@pytest.fixture
def caller() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def end(rpc: Any, response: object, code: grpc.StatusCode = grpc.StatusCode.OK, details: bytes = b"") -> None:
    rpc.send_initial_metadata(())
    trailing = (("grpc-status-details-bin", details),) if details else ()
    rpc.terminate(response, trailing, code, "")


def test_a_call_has_a_request_id_a_token_and_its_response(
    channel: Any, client: GatewayClient, caller: ThreadPoolExecutor
) -> None:
    answer = caller.submit(client.cards.create_card, CreateCardRequest(consumer_id="consumer-1"))
    metadata, request, rpc = channel.take_unary_unary(CREATE)
    end(rpc, CreateCardResponse(card_id="card-1"))
    assert answer.result(10).card_id == "card-1"
    assert (request.consumer_id, len(request.request_id)) == ("consumer-1", 36)
    assert ("authorization", "Bearer t-1") in {tuple(pair) for pair in metadata}


BROKEN_DETAIL = Status(
    details=[AnyMessage(type_url=f"type.googleapis.com/{ErrorDetail.DESCRIPTOR.full_name}", value=b"\xff")]
)


@pytest.mark.parametrize("details", [b"", b"\x08\xff", b"\x1a\x05\x0a\x7f", BROKEN_DETAIL.SerializeToString()])
def test_an_error_that_no_gateway_wrote_is_still_an_error(
    channel: Any, client: GatewayClient, caller: ThreadPoolExecutor, details: bytes
) -> None:
    answer = caller.submit(client.cards.create_card, CreateCardRequest())
    _, _, rpc = channel.take_unary_unary(CREATE)
    end(rpc, None, grpc.StatusCode.PERMISSION_DENIED, details)
    with pytest.raises(errors.PermissionDeniedError) as caught:
        answer.result(10)
    assert (caught.value.reason, caught.value.outcome) == (errors.ErrorReason.UNSPECIFIED, errors.ErrorOutcome.UNKNOWN)


def test_an_error_of_a_newer_gateway_leaves_open_what_this_client_does_not_know(
    channel: Any, client: GatewayClient, caller: ThreadPoolExecutor
) -> None:
    newer = Status()
    newer.details.add().Pack(ErrorDetail.FromString(b"\x08\x8f\x4e\x10\x63\x1a\x05an-id"))
    answer = caller.submit(client.cards.create_card, CreateCardRequest())
    _, _, rpc = channel.take_unary_unary(CREATE)
    end(rpc, None, grpc.StatusCode.ABORTED, newer.SerializeToString())
    with pytest.raises(errors.GatewayError) as caught:
        answer.result(10)
    assert (caught.value.reason, caught.value.outcome) == (9_999, errors.ErrorOutcome.UNKNOWN)
    assert str(caught.value) == "ABORTED [UNKNOWN(9999), outcome UNKNOWN]:  (correlation id an-id)"


def test_a_watch_resumes_after_its_last_batch(channel: Any, client: GatewayClient, caller: ThreadPoolExecutor) -> None:
    with client.notifications.watch(heartbeat_seconds=5) as watch:
        got = caller.submit(next, watch)
        _, first, rpc = channel.take_unary_stream(WATCH)
        rpc.send_initial_metadata(())
        rpc.send_response(batch("c-1"))
        assert got.result(10).cursor == "c-1"
        got = caller.submit(next, watch)
        rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "")
        _, second, rpc = channel.take_unary_stream(WATCH)
        rpc.send_initial_metadata(())
        rpc.send_response(WatchNotificationsResponse(cursor="c-1", role=WatcherRole.ACTIVE))
        rpc.send_response(batch("c-2"))
        assert got.result(10).cursor == "c-2"
    assert (first.after_cursor, second.after_cursor) == (None, "c-1")


def batch(cursor: str) -> WatchNotificationsResponse:
    return WatchNotificationsResponse(notifications=[Notification(cursor=cursor)], cursor=cursor)
