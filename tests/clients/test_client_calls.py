"""Calls through a real gateway, and their errors."""

import asyncio
import uuid

import grpc
import pytest

from d1_gateway_client import AsyncGatewayClient, GatewayClient, Options, errors
from d1_gateway_client.contracts.issuer.card.v1 import (
    DeleteCardRequest,
    RegisterCardRequest,
    SuspendCardRequest,
)
from d1_gateway_client.contracts.issuer.common.v1 import CardCredentials, CardExpiry
from d1_gateway_client.contracts.issuer.consumer.v1 import RegisterConsumerRequest
from d1_gateway_client.contracts.issuer.threeds.v1 import ListThreeDsOperationsRequest, LookupCardRequest
from tests.running import Running

LOOKUP = LookupCardRequest(acct_number="9000100111110170")
SUSPEND = SuspendCardRequest(card_id="card-unknown", reason_code="USER_DECISION")


@pytest.fixture
def register() -> RegisterCardRequest:
    """A request for a card of the test's own."""
    number = uuid.uuid4().int % 10**12
    return RegisterCardRequest(
        card_id=f"card-{number}",
        consumer_id="consumer-1",
        card_product_id="light",
        credentials=CardCredentials(pan=f"4970{number:012}", expiry=CardExpiry(month=12, year=2031)),
    )


def suspending(register: RegisterCardRequest) -> SuspendCardRequest:
    return SuspendCardRequest(card_id=register.card_id, reason_code="USER_DECISION")


async def test_every_service_is_called_over_asyncio(
    client: AsyncGatewayClient, running: Running, register: RegisterCardRequest
) -> None:
    await client.cards.register_card(register)
    await client.cards.suspend_card(suspending(register))
    assert running.sandbox.store.card(register.card_id).state.name == "SUSPENDED"
    await client.consumers.register_consumer(RegisterConsumerRequest(consumer_id="consumer-2"))
    assert (await client.authentication.lookup_card(LOOKUP)).enrolled
    listed = await client.operations.list_three_ds_operations(ListThreeDsOperationsRequest(card_id=register.card_id))
    assert (listed.operations, listed.next_page_token) == ([], "")


async def test_every_service_is_called_by_threads(
    options: Options, running: Running, register: RegisterCardRequest
) -> None:
    def calls() -> None:
        with GatewayClient(options) as blocking:
            blocking.cards.register_card(register)
            blocking.within(30).cards.suspend_card(suspending(register))
            blocking.consumers.register_consumer(RegisterConsumerRequest(consumer_id="consumer-3"))
            assert blocking.authentication.lookup_card(LOOKUP).enrolled
            with pytest.raises(errors.NotFoundError, match="UPSTREAM_NOT_FOUND"):
                blocking.cards.delete_card(DeleteCardRequest(card_id="card-unknown", reason_code="CLOSED_CARD"))

    await asyncio.to_thread(calls)
    assert running.sandbox.store.card(register.card_id).state.name == "SUSPENDED"


def test_a_closed_client_sends_nothing(options: Options) -> None:
    with GatewayClient(options) as client:
        pass
    with pytest.raises(errors.UnavailableError, match="The client is closed") as caught:
        client.cards.suspend_card(SUSPEND)
    assert caught.value.outcome is errors.ErrorOutcome.NOT_SENT


async def test_an_error_of_d1_says_why_and_that_nothing_changed(client: AsyncGatewayClient) -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        await client.cards.suspend_card(SUSPEND)
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, errors.ErrorReason.UPSTREAM_NOT_FOUND)
    assert error.outcome is errors.ErrorOutcome.REJECTED
    assert (error.detail.upstream, error.detail.upstream_status) == ("d1", 404)
    assert len(error.correlation_id) == 32
    assert error.correlation_id in str(error)
    assert uuid.UUID(error.request_id).version == 4


async def test_a_request_that_breaks_the_contract_gets_every_field_and_no_value(client: AsyncGatewayClient) -> None:
    wrong = RegisterCardRequest(card_id="no spaces allowed", consumer_id="consumer-1", request_id="mine")
    with pytest.raises(errors.InvalidRequestError) as caught:
        await client.cards.register_card(wrong)
    violations = {violation.field: violation.rule for violation in caught.value.violations}
    assert violations["card_id"] == "string.pattern"
    assert violations["request_id"] == "string.uuid"
    assert caught.value.outcome is errors.ErrorOutcome.NOT_SENT
    assert "no spaces" not in str(caught.value)


async def test_a_gateway_that_cannot_be_trusted_is_sent_nothing(running: Running) -> None:
    pki = running.sandbox.pki
    distrusting = Options(address=running.addresses.grpc, ca_file=pki.caller_ca, deadline_seconds=1)
    async with AsyncGatewayClient(distrusting) as client:
        with pytest.raises(errors.UnavailableError, match="No connection to") as caught:
            await client.cards.suspend_card(SUSPEND)
    assert caught.value.outcome is errors.ErrorOutcome.NOT_SENT


async def test_a_repeated_change_under_the_same_request_id_is_made_once(
    client: AsyncGatewayClient, register: RegisterCardRequest
) -> None:
    await client.cards.register_card(register)
    suspend = suspending(register)
    same = SuspendCardRequest(card_id=suspend.card_id, reason_code=suspend.reason_code, request_id=str(uuid.uuid4()))
    await client.cards.suspend_card(same)
    await client.cards.suspend_card(same)
    with pytest.raises(errors.NotAllowedError):
        await client.cards.suspend_card(suspend)
    assert suspend.request_id == "", "the caller's message was changed"
