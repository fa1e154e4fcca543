"""ConsumerService: the effects of its rpcs at D1."""

from collections.abc import AsyncIterator

import grpc
import pytest

from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox.d1.model.contract import CardState
from tests.contract.card_rpcs import changed
from tests.contract.consumer_rpcs import RPCS, enrol
from tests.running import Running, failure_of

_Code = grpc.StatusCode


@pytest.fixture
async def enrolled(running: Running) -> AsyncIterator[Running]:
    """A gateway with a D1 where consumer-1 has an authenticator."""
    enrol(running.sandbox)
    yield running
    assert running.sandbox.background.errors == []


async def test_an_authenticator_is_removed_once(enrolled: Running) -> None:
    assert await RPCS["DeleteAuthenticator"].call(enrolled) == consumer.DeleteAuthenticatorResponse()
    assert enrolled.sandbox.authenticators.all() == {}

    failure = await failure_of(RPCS["DeleteAuthenticator"].call(enrolled))
    assert failure.error == (_Code.NOT_FOUND, "UPSTREAM_NOT_FOUND", "REJECTED", None)
    assert failure.metadata["upstream_status"] == "404"


@pytest.mark.parametrize("name", ["DeleteAuthenticator", "DeleteConsumer"])
async def test_a_reason_code_that_d1_does_not_know_is_refused_by_d1(enrolled: Running, name: str) -> None:
    failure = await failure_of(RPCS[name].call(enrolled, changed(RPCS[name].request, reason_code="SOMETHING_NEW")))

    assert failure.error == (_Code.INVALID_ARGUMENT, "UPSTREAM_INVALID", "REJECTED", None)
    assert enrolled.sandbox.authenticators.all() == {"app-1": "consumer-1"}


async def test_a_consumer_is_registered_with_what_is_said_of_the_person(enrolled: Running) -> None:
    for _ in range(2):
        assert await RPCS["RegisterConsumer"].call(enrolled) == consumer.RegisterConsumerResponse()

    kept = enrolled.sandbox.store.personal_information("consumer-1")
    assert kept is not None
    assert kept.fields == {
        "language": "en-US",
        "firstName": "Zoë",
        "mobilePhoneNumber": {"countryCode": "+962", "phoneNumber": "791234567"},
        "residencyAddress": {"city": "Amman", "countryCode": "JO"},
    }


async def test_a_consumer_can_be_registered_without_personal_data(running: Running) -> None:
    await RPCS["RegisterConsumer"].call(running, consumer.RegisterConsumerRequest(consumer_id="consumer-9"))

    assert running.sandbox.store.personal_information("consumer-9") is None


async def test_a_consumer_is_deleted_once_and_all_that_it_had_goes_with_it(enrolled: Running) -> None:
    assert await RPCS["DeleteConsumer"].call(enrolled) == consumer.DeleteConsumerResponse()
    assert {card.state for card in enrolled.sandbox.store.cards()} == {CardState.DELETED}
    assert enrolled.sandbox.authenticators.all() == {}

    failure = await failure_of(RPCS["DeleteConsumer"].call(enrolled))
    assert failure.error == (_Code.NOT_FOUND, "UPSTREAM_NOT_FOUND", "REJECTED", None)
