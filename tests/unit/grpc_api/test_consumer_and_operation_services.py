"""ConsumerService and OperationService before ports in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.auth.issuers import Issuers
from gateway.callbacks.results import AuthenticationResults
from gateway.grpc_api.interceptors import (
    CorrelationInterceptor,
    ErrorInterceptor,
    IssuerInterceptor,
    ValidationInterceptor,
)
from gateway.grpc_api.interceptors.chain import Chain
from gateway.grpc_api.server import Servicer, register
from gateway.grpc_api.services.consumers import ConsumerServicer
from gateway.grpc_api.services.operations import OperationServicer
from gateway.ports import Call
from gateway.validation.validator import Validation
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import service_pb2_grpc as consumer_grpc
from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1 import service_pb2_grpc as threeds_grpc
from tests.fakes import FakeKeyValueStore
from tests.unit.history.history_pages import CARD, ISSUER, FakeOperationHistory

APPROVED = authentication.AUTHENTICATION_STATUS_SUCCESSFUL
DENIED = authentication.AUTHENTICATION_STATUS_FAILED


@dataclass(slots=True)
class FakeConsumers:
    """Consumers and authenticators that note what is asked of them."""

    asked: list[object] = field(default_factory=list)

    async def register_consumer(
        self, request: consumer.RegisterConsumerRequest, call: Call
    ) -> consumer.RegisterConsumerResponse:
        self.asked.append((request, call.issuer_id))
        return consumer.RegisterConsumerResponse()

    async def delete_consumer(
        self, request: consumer.DeleteConsumerRequest, call: Call
    ) -> consumer.DeleteConsumerResponse:
        self.asked.append((request, call.issuer_id))
        return consumer.DeleteConsumerResponse()

    async def delete_credentials(
        self, request: consumer.DeleteCredentialsRequest, call: Call
    ) -> consumer.DeleteCredentialsResponse:
        self.asked.append((request, call.issuer_id))
        return consumer.DeleteCredentialsResponse()


@asynccontextmanager
async def serving(servicer: Servicer) -> AsyncIterator[grpc.aio.Channel]:
    """Serve a service as the gateway does, and connect with it."""
    server = grpc.aio.server(
        interceptors=(
            Chain(
                CorrelationInterceptor(),
                ErrorInterceptor(),
                ValidationInterceptor(Validation()),
                IssuerInterceptor(Issuers([ISSUER])),
            ),
        )
    )
    register(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


@pytest.fixture
def store() -> FakeKeyValueStore:
    return FakeKeyValueStore()


@pytest.fixture
def port() -> FakeConsumers:
    return FakeConsumers()


@pytest.fixture
def history() -> FakeOperationHistory:
    return FakeOperationHistory(60)


@pytest.fixture
async def consumers(
    port: FakeConsumers, store: FakeKeyValueStore
) -> "AsyncIterator[consumer_grpc.ConsumerServiceAsyncStub]":
    servicer = ConsumerServicer(port, port, AuthenticationResults(store, ttl_seconds=900))
    async with serving(servicer) as channel:
        yield consumer_grpc.ConsumerServiceStub(channel)


@pytest.fixture
async def operations(history: FakeOperationHistory) -> "AsyncIterator[threeds_grpc.OperationServiceAsyncStub]":
    async with serving(OperationServicer(history)) as channel:
        yield threeds_grpc.OperationServiceStub(channel)


async def refused(call: "grpc.aio.UnaryUnaryCall[Any, Any]") -> tuple[grpc.StatusCode, str, str]:
    """Await a call that has to fail; return its status, reason and outcome."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details: Any = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details)
    return caught.value.code(), info.reason, info.metadata["outcome"]


def ended(
    status: "authentication.AuthenticationStatus.ValueType", error: str = ""
) -> consumer.CompleteAuthenticationRequest:
    result = authentication.AuthenticationResult(authentication_id="authn-1", status=status, error=error)
    return consumer.CompleteAuthenticationRequest(result=result)


async def test_each_rpc_of_the_consumer_service_reaches_its_own_method_of_a_port(
    port: FakeConsumers, consumers: "consumer_grpc.ConsumerServiceAsyncStub"
) -> None:
    remove = consumer.DeleteCredentialsRequest(app_instance_id="app-1")
    put = consumer.RegisterConsumerRequest(consumer_id="consumer-1")
    delete = consumer.DeleteConsumerRequest(issuer_id=ISSUER, consumer_id="consumer-1")

    assert await consumers.DeleteCredentials(remove) == consumer.DeleteCredentialsResponse()
    assert await consumers.RegisterConsumer(put) == consumer.RegisterConsumerResponse()
    assert await consumers.DeleteConsumer(delete) == consumer.DeleteConsumerResponse()

    for request in (remove, put, delete):
        request.issuer_id = ISSUER
    assert port.asked == [(remove, ISSUER), (put, ISSUER), (delete, ISSUER)]


async def test_an_authentication_that_ended_is_kept_for_its_issuer(
    store: FakeKeyValueStore, consumers: "consumer_grpc.ConsumerServiceAsyncStub"
) -> None:
    await consumers.CompleteAuthentication(ended(DENIED, "denied by the consumer"))

    kept = await AuthenticationResults(store, ttl_seconds=900).find(ISSUER, "authn-1")
    assert kept == ended(DENIED, "denied by the consumer").result


async def test_the_same_end_told_again_is_taken_even_in_other_words_and_the_first_words_stand(
    store: FakeKeyValueStore, consumers: "consumer_grpc.ConsumerServiceAsyncStub"
) -> None:
    await consumers.CompleteAuthentication(ended(DENIED, "denied"))
    await consumers.CompleteAuthentication(ended(DENIED, "timed out"))

    kept = await AuthenticationResults(store, ttl_seconds=900).find(ISSUER, "authn-1")
    assert kept is not None
    assert kept.error == "denied"


@pytest.mark.parametrize(("first", "then"), [(APPROVED, DENIED), (DENIED, APPROVED)])
async def test_an_authentication_that_ended_the_other_way_stays_as_it_is(
    store: FakeKeyValueStore,
    consumers: "consumer_grpc.ConsumerServiceAsyncStub",
    first: "authentication.AuthenticationStatus.ValueType",
    then: "authentication.AuthenticationStatus.ValueType",
) -> None:
    await consumers.CompleteAuthentication(ended(first))

    failure = await refused(consumers.CompleteAuthentication(ended(then)))

    assert failure == (grpc.StatusCode.FAILED_PRECONDITION, "AUTHENTICATION_DECIDED", "REJECTED")
    kept = await AuthenticationResults(store, ttl_seconds=900).find(ISSUER, "authn-1")
    assert kept is not None
    assert kept.status == first


@pytest.mark.parametrize("status", ["AUTHENTICATION_STATUS_PENDING", "AUTHENTICATION_STATUS_UNSPECIFIED"])
async def test_an_authentication_that_goes_on_cannot_be_completed(
    consumers: "consumer_grpc.ConsumerServiceAsyncStub", status: str
) -> None:
    request = ended(authentication.AuthenticationStatus.Value(status))

    failure = await refused(consumers.CompleteAuthentication(request))

    assert failure == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT")


async def test_a_result_that_cannot_be_kept_is_not_taken(
    store: FakeKeyValueStore, consumers: "consumer_grpc.ConsumerServiceAsyncStub"
) -> None:
    store.fail()

    code, reason, _ = await refused(consumers.CompleteAuthentication(ended(APPROVED)))

    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_another_issuer_is_unknown_to_every_rpc(
    consumers: "consumer_grpc.ConsumerServiceAsyncStub", operations: "threeds_grpc.OperationServiceAsyncStub"
) -> None:
    other = "ISSUER0002"
    calls = (
        consumers.DeleteCredentials(consumer.DeleteCredentialsRequest(app_instance_id="app-1", issuer_id=other)),
        consumers.RegisterConsumer(consumer.RegisterConsumerRequest(consumer_id="consumer-1", issuer_id=other)),
        consumers.DeleteConsumer(consumer.DeleteConsumerRequest(consumer_id="consumer-1", issuer_id=other)),
        consumers.CompleteAuthentication(
            consumer.CompleteAuthenticationRequest(result=ended(APPROVED).result, issuer_id=other)
        ),
        operations.ListOperations(history_pb2.ListOperationsRequest(card_id=CARD, issuer_id=other)),
        operations.GetOperation(history_pb2.GetOperationRequest(card_id=CARD, operation_id="op-1", issuer_id=other)),
    )

    failures = [await refused(call) for call in calls]

    assert failures == [(grpc.StatusCode.NOT_FOUND, "ISSUER_UNKNOWN", "NOT_SENT")] * len(calls)


async def test_a_page_holds_ten_operations_unless_told_otherwise(
    operations: "threeds_grpc.OperationServiceAsyncStub",
) -> None:
    page = await operations.ListOperations(history_pb2.ListOperationsRequest(card_id=CARD))

    assert [operation.operation_id for operation in page.operations] == [f"op-{60 - place}" for place in range(10)]
    assert page.remaining_operations == 50


async def test_the_size_may_differ_from_page_to_page(operations: "threeds_grpc.OperationServiceAsyncStub") -> None:
    first = await operations.ListOperations(history_pb2.ListOperationsRequest(card_id=CARD, page_size=3))
    request = history_pb2.ListOperationsRequest(card_id=CARD, page_size=2, page_token=first.next_page_token)
    second = await operations.ListOperations(request)

    assert [operation.operation_id for operation in second.operations] == ["op-57", "op-56"]


async def test_a_token_that_was_not_given_out_is_refused(
    history: FakeOperationHistory, operations: "threeds_grpc.OperationServiceAsyncStub"
) -> None:
    request = history_pb2.ListOperationsRequest(card_id=CARD, page_token="bm90IG91cnM")

    failure = await refused(operations.ListOperations(request))

    assert failure == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "NOT_SENT")
    assert history.reads == []


async def test_one_operation_is_got_by_its_id(operations: "threeds_grpc.OperationServiceAsyncStub") -> None:
    answer = await operations.GetOperation(history_pb2.GetOperationRequest(card_id=CARD, operation_id="op-7"))

    assert answer.operation.operation_id == "op-7"
