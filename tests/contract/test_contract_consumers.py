"""ConsumerService: the effects of its rpcs at D1, and the fields that they refuse."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox.d1.model.contract import CardState
from tests.contract.card_rpcs import changed
from tests.contract.consumer_rpcs import RPCS, enrol
from tests.contract.d1_rpcs import refused_unsent
from tests.running import Running, failure_of

_Code = grpc.StatusCode


@pytest.fixture
async def enrolled(running: Running) -> AsyncIterator[Running]:
    """A gateway with a D1 where consumer-1 has an authenticator."""
    enrol(running.sandbox)
    yield running
    assert running.sandbox.background.errors == []


async def test_an_authenticator_is_removed_once(enrolled: Running) -> None:
    assert await RPCS["DeleteCredentials"].call(enrolled) == consumer.DeleteCredentialsResponse()
    assert enrolled.sandbox.authenticators.all() == {}

    failure = await failure_of(RPCS["DeleteCredentials"].call(enrolled))
    assert failure.error == (_Code.NOT_FOUND, "UPSTREAM_NOT_FOUND", "REJECTED", None)
    assert failure.metadata["upstream_status"] == "404"


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


@pytest.mark.parametrize(
    ("name", "fields", "wrong"),
    [
        ("DeleteCredentials", {"app_instance_id": None}, "app_instance_id"),
        ("DeleteCredentials", {"app_instance_id": "a/b"}, "app_instance_id"),
        ("DeleteCredentials", {"reason": "It's gone"}, "reason"),
        ("DeleteCredentials", {"reason": "x" * 65}, "reason"),
        ("DeleteCredentials", {"reason_code": 3}, "reason_code"),
        ("RegisterConsumer", {"consumer_id": None}, "consumer_id"),
        ("RegisterConsumer", {"consumer_id": "x" * 65}, "consumer_id"),
        ("RegisterConsumer", {"user_id": "first last"}, "user_id"),
        ("DeleteConsumer", {"consumer_id": None}, "consumer_id"),
        ("DeleteConsumer", {"reason": "no!"}, "reason"),
        ("DeleteConsumer", {"reason_code": 3}, "reason_code"),
        *[(name, {"issuer_id": "short"}, "issuer_id") for name in RPCS],
        *[(name, {"request_id": "no-uuid"}, "request_id") for name in RPCS],
    ],
)
async def test_a_wrong_field_is_named(running: Running, name: str, fields: dict[str, Any], wrong: str) -> None:
    failure = await refused_unsent(running, RPCS[name], changed(RPCS[name].request, **fields))
    assert (failure.code, failure.reason) == (_Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert set(failure.violations) == {wrong}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "english"),
        ("first_name", "Zoë!"),
        ("title", "x" * 41),
        ("date_of_birth", "25.01.1990"),
        ("email", "nowhere"),
    ],
)
async def test_wrong_personal_data_are_named_and_not_repeated(running: Running, field: str, value: str) -> None:
    request = changed(RPCS["RegisterConsumer"].request)
    setattr(request.personal_information, field, value)
    failure = await refused_unsent(running, RPCS["RegisterConsumer"], request)
    assert set(failure.violations) == {f"personal_information.{field}"}
    assert value not in repr(failure)
