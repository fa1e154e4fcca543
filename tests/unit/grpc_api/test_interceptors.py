import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, MutableMapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import grpc
import pytest
import structlog

from gateway.auth.issuers import Issuers
from gateway.backfill.backfill import Backfill
from gateway.errors import GatewayError
from gateway.grpc_api.interceptors import (
    CorrelationInterceptor,
    ErrorInterceptor,
    IssuerInterceptor,
    RequestInterceptor,
    TelemetryInterceptor,
    ValidationInterceptor,
)
from gateway.grpc_api.interceptors.chain import Chain
from gateway.grpc_api.services import notifications
from gateway.grpc_api.services.backfills import OrderedBackfills
from gateway.grpc_api.services.cards import CardServicer
from gateway.grpc_api.services.notifications import NotificationServicer
from gateway.logging import correlation
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracing
from gateway.validation.validator import Validation
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.common.v1 import card_data_pb2, error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1 import service_pb2_grpc as notification_grpc
from tests.fakes import ISSUER, FakeCardIssuer
from tests.running import code_of, failure_of
from tests.unit.backfill.histories import FakeOperationHistory
from tests.unit.notifications.watches import a_log_of, watchers_of

SECRET = "4111 1111 1111 1111"
RESUME = card.ResumeCardRequest(card_id="card-1", reason_code="CARD_FOUND")


@dataclass(frozen=True, slots=True)
class Served:
    """A server with fakes behind it, and the stubs of a caller."""

    issuer: FakeCardIssuer
    cards: "card_grpc.CardServiceAsyncStub"
    notifications: "notification_grpc.NotificationServiceAsyncStub"
    channel: grpc.aio.Channel


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    issuer, log = FakeCardIssuer(), a_log_of(3)
    chain = Chain(
        CorrelationInterceptor(),
        ErrorInterceptor(),
        TelemetryInterceptor(Issuers([ISSUER]), Metrics(), Tracing()),
        RequestInterceptor(),
        ValidationInterceptor(Validation()),
        IssuerInterceptor(Issuers([ISSUER])),
    )
    server = grpc.aio.server(handlers=(chain,))
    chain.add(CardServicer(issuer), card_grpc.add_CardServiceServicer_to_server)
    backfills = OrderedBackfills(Backfill(FakeOperationHistory(), log, calls_per_second=5, retention_seconds=1))
    chain.add(NotificationServicer(log, watchers_of(log), backfills), notifications.add_to_server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(
            issuer, card_grpc.CardServiceStub(channel), notification_grpc.NotificationServiceStub(channel), channel
        )
    await server.stop(None)


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def raw_status(call: Awaitable[object]) -> str:
    """Return all that a caller can see of a failed call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details: Any = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    return f"{caught.value} {details.decode(errors='replace')}"


async def test_an_invalid_request_never_reaches_the_port_and_every_wrong_field_is_named_without_its_value(
    served: Served, logged: list[MutableMapping[str, Any]]
) -> None:
    request = card.RegisterCardRequest(
        issuer_id=SECRET,
        request_id=SECRET,
        card_id=SECRET,
        consumer_id="consumer-1",
        name_on_card=SECRET,
        credentials=card_data_pb2.CardCredentials(pan=SECRET, expiry=card_data_pb2.CardExpiry(month=13, year=31)),
    )

    failure = await failure_of(served.cards.RegisterCard(request))

    assert served.issuer.asked == []
    assert failure.error == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT", None)
    assert failure.violations == {
        "issuer_id": "string.len",
        "request_id": "string.uuid",
        "card_id": "string.pattern",
        "card_product_id": "string.pattern",
        "name_on_card": "string.pattern",
        "credentials.pan": "string.pattern",
        "credentials.expiry.month": "uint32.gte_lte",
        "credentials.expiry.year": "uint32.gte_lte",
    }
    assert SECRET not in await raw_status(served.cards.RegisterCard(request))
    assert SECRET not in str(logged)


@pytest.mark.parametrize(
    ("card_ids", "wrong"),
    [
        (["card-1", SECRET, "card-2"], ["filter.card_ids[1]", "max_batch_size"]),
        # However many fields are wrong, the caller learns of it.
        (["!"] * 1000, ["filter.card_ids[0]"]),
    ],
)
async def test_a_stream_is_validated_and_an_item_of_a_list_named_by_its_place(
    served: Served, card_ids: list[str], wrong: list[str]
) -> None:
    request = notification.WatchNotificationsRequest(
        filter=notification.NotificationFilter(card_ids=card_ids), max_batch_size=1001
    )

    failure = await failure_of(served.notifications.WatchNotifications(request, timeout=20).read())

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failure.violations)[: len(wrong)] == wrong
    assert SECRET not in await raw_status(served.notifications.WatchNotifications(request, timeout=20).read())


async def test_an_expected_failure_comes_with_its_reason(
    served: Served, logged: list[MutableMapping[str, Any]]
) -> None:
    served.issuer.failure = GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
        "Wait a little, d\u00e4r\nwaiter.",
        retry_after_seconds=2.5,
        detail=error_pb2.ErrorDetail(upstream="d1", upstream_code="\u2603"),
    )

    failure = await failure_of(served.cards.ResumeCard(RESUME))

    assert failure.error == (grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", "REJECTED", 2.5)
    assert (failure.message, failure.metadata["upstream_code"]) == ("Wait a little, d\u00e4r\nwaiter.", "\u2603")
    (line,) = [line for line in logged if line["event"] == "rpc_failed"]
    assert (line["reason"], line["rpc"]) == ("UPSTREAM_RATE_LIMITED", "/issuer.card.v1.CardService/ResumeCard")
    assert (line["message"], line["upstream"]) == ("Wait a little, d\u00e4r\nwaiter.", "d1"), "the log says why"


async def test_an_unexpected_failure_tells_the_correlation_id_and_nothing_else(
    served: Served, logged: list[MutableMapping[str, Any]]
) -> None:
    served.issuer.failure = ValueError(f"could not make sense of {SECRET}")

    failure = await failure_of(served.cards.ResumeCard(RESUME, metadata=((correlation.HEADER, "an-id"),)))

    assert failure.error == (grpc.StatusCode.INTERNAL, "INTERNAL", "UNKNOWN", None)
    assert failure.metadata["correlation_id"] == "an-id"
    assert [(line["log_level"], line["rpc"]) for line in logged if line["event"] == "rpc_failed"] == [
        ("error", "/issuer.card.v1.CardService/ResumeCard")
    ]
    assert SECRET not in await raw_status(served.cards.ResumeCard(RESUME))


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x22\x02\xff\xfe"], ids=["no protobuf", "no UTF-8"])
async def test_bytes_that_are_no_request_are_refused_as_one_that_breaks_its_contract(
    served: Served, logged: list[MutableMapping[str, Any]], garbage: bytes
) -> None:
    resume: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(
        "/issuer.card.v1.CardService/ResumeCard", request_serializer=bytes
    )

    failure = await failure_of(resume(garbage))

    assert failure.error == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT", None)
    assert [line["event"] for line in logged] == ["rpc_failed"]
    assert served.issuer.asked == []


@pytest.mark.parametrize("given", [None, "", "a" * 65, "with space", "dot.ted", "slash/ed"])
async def test_where_none_that_d1_takes_is_given_a_correlation_id_is_made(served: Served, given: str | None) -> None:
    metadata = () if given is None else ((correlation.HEADER, given),)

    call = served.cards.ResumeCard(RESUME, metadata=metadata)
    await call

    made = dict(await call.trailing_metadata())[correlation.HEADER]
    assert isinstance(made, str)
    assert correlation.is_valid(made)
    assert made != given
    assert [asked.correlation_id for _, asked in served.issuer.asked] == [made]


async def test_a_reply_and_an_error_name_the_version_of_the_gateway(served: Served) -> None:
    resumed = served.cards.ResumeCard(RESUME)
    await resumed
    refused = served.cards.ResumeCard(card.ResumeCardRequest())
    assert await code_of(refused) is grpc.StatusCode.INVALID_ARGUMENT

    version = metadata.version("d1-gateway")
    named = [dict(await call.trailing_metadata())["d1-gateway-version"] for call in (resumed, refused)]
    assert named == [version] * 2


async def test_calls_that_run_together_keep_their_correlation_ids(served: Served) -> None:
    given = [f"order-{number}_b" for number in range(20)]

    calls = [served.cards.ResumeCard(RESUME, metadata=((correlation.HEADER, each),)) for each in given]
    await asyncio.gather(*calls)

    assert [dict(await call.trailing_metadata())[correlation.HEADER] for call in calls] == given
    assert sorted(asked.correlation_id for _, asked in served.issuer.asked) == sorted(given)


async def test_the_deadline_of_the_caller_is_that_of_the_port(served: Served) -> None:
    await served.cards.ResumeCard(RESUME, timeout=40)
    await served.cards.ResumeCard(RESUME)

    (_, limited), (_, unlimited) = served.issuer.asked
    remaining = limited.remaining_seconds()
    assert remaining is not None
    assert 10 < remaining <= 40
    assert unlimited.deadline is None


async def test_a_caller_that_cancels_cancels_what_the_port_does(served: Served) -> None:
    served.issuer.holds_back = True
    call = served.cards.ResumeCard(RESUME)
    async with asyncio.timeout(20):
        await served.issuer.reached.wait()
        assert not served.issuer.cancelled.is_set()

        call.cancel()
        await served.issuer.cancelled.wait()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_deadline_that_passes_cancels_what_the_port_does(served: Served) -> None:
    served.issuer.holds_back = True

    assert await code_of(served.cards.ResumeCard(RESUME, timeout=0.3)) is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(20):
        await served.issuer.cancelled.wait()


async def test_what_an_upstream_said_is_told_to_the_caller_and_not_to_the_log(
    served: Served, logged: list[MutableMapping[str, Any]]
) -> None:
    served.issuer.failure = GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_INVALID,
        "D1 refused it (HTTP 400): Erika Mustermann",
        detail=error_pb2.ErrorDetail(
            upstream="d1", upstream_status=400, erro=error_pb2.ThreeDSErro(error_detail="Erika Mustermann")
        ),
    )

    assert "Erika" in (await failure_of(served.cards.ResumeCard(RESUME))).message
    (line,) = [line for line in logged if line["event"] == "rpc_failed"]
    assert line["upstream_status"] == "400"
    assert "Erika" not in str(line)
