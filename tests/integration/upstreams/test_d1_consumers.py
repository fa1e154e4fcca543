"""Consumers and their authenticators, as D1 sees the calls."""

import pytest

from adapters.d1.api import D1Authenticators, D1Client, D1Consumers
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from tests.integration.upstreams.fake_d1 import FakeD1
from tests.integration.upstreams.fake_upstream import ISSUER, call, failure_of, kind_of, reply

V1 = f"/banking/v1/issuers/{ISSUER}"
V2 = f"/banking/v2/issuers/{ISSUER}"
PERSON = personal.PersonalInformation(
    language="ar-JO",
    first_name="رانيا",
    middle_name="A.",
    last_name="O'Neil",
    title="Dr.",
    date_of_birth="1990-01-25",
    email="rania@bank.example",
    mobile_phone_number=personal.PhoneNumber(country_code="+962", phone_number="791234567"),
    residency_address=personal.Address(
        line1="1 First Street", line2="Flat 2", city="Amman", state="Amman", zip_code="11118", country_code="JO"
    ),
)


@pytest.fixture
def consumers(client: D1Client) -> D1Consumers:
    return D1Consumers(client)


@pytest.fixture
def authenticators(client: D1Client) -> D1Authenticators:
    return D1Authenticators(client)


async def test_a_consumer_is_registered_with_all_that_is_said_of_the_person(d1: FakeD1, consumers: D1Consumers) -> None:
    request = consumer.RegisterConsumerRequest(
        consumer_id="consumer-1", user_id="operator-7", personal_information=PERSON
    )

    assert await consumers.register_consumer(request, call()) == consumer.RegisterConsumerResponse()

    (seen,) = d1.calls
    assert (seen.method, seen.path) == ("PUT", f"{V2}/consumers/consumer-1")
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-user-id"] == "operator-7"
    assert seen.json() == {
        "personalInformation": {
            "language": "ar-JO",
            "firstName": "رانيا",
            "middleName": "A.",
            "lastName": "O'Neil",
            "title": "Dr.",
            "dateOfBirth": "1990-01-25",
            "email": "rania@bank.example",
            "mobilePhoneNumber": {"countryCode": "+962", "phoneNumber": "791234567"},
            "residencyAddress": {
                "line1": "1 First Street",
                "line2": "Flat 2",
                "city": "Amman",
                "state": "Amman",
                "zipCode": "11118",
                "countryCode": "JO",
            },
        }
    }


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (None, {}),
        (personal.PersonalInformation(), {"personalInformation": {}}),
        (personal.PersonalInformation(language="en-US"), {"personalInformation": {"language": "en-US"}}),
    ],
)
async def test_what_is_not_said_of_the_person_is_not_sent(
    d1: FakeD1, consumers: D1Consumers, said: personal.PersonalInformation | None, body: object
) -> None:
    request = consumer.RegisterConsumerRequest(consumer_id="consumer-1", personal_information=said)

    await consumers.register_consumer(request, call())

    (seen,) = d1.calls
    assert seen.json() == body
    assert "x-user-id" not in seen.headers


async def test_a_consumer_is_deleted_at_v1(d1: FakeD1, consumers: D1Consumers) -> None:
    request = consumer.DeleteConsumerRequest(
        consumer_id="consumer-1", reason="Moved away", reason_code=consumer.REASON_CODE_USER_DECISION
    )

    assert await consumers.delete_consumer(request, call()) == consumer.DeleteConsumerResponse()

    (seen,) = d1.calls
    assert (seen.method, seen.path) == ("POST", f"{V1}/consumers/consumer-1/operations:delete")
    assert seen.json() == {"reason": "Moved away", "reasonCode": "USER_DECISION"}


async def test_an_authenticator_is_removed_by_its_installation(d1: FakeD1, authenticators: D1Authenticators) -> None:
    request = consumer.DeleteCredentialsRequest(
        app_instance_id="app-1", reason="Phone lost", reason_code=consumer.REASON_CODE_ISSUER_DECISION
    )

    assert await authenticators.delete_credentials(request, call()) == consumer.DeleteCredentialsResponse()

    (seen,) = d1.calls
    path = f"{V1}/appinstances/app-1/authncredentials/operations:delete"
    assert (seen.method, seen.path) == ("POST", path)
    assert seen.json() == {"reason": "Phone lost", "reasonCode": "ISSUER_DECISION"}


async def test_without_a_code_the_issuer_has_decided(
    d1: FakeD1, consumers: D1Consumers, authenticators: D1Authenticators
) -> None:
    await consumers.delete_consumer(consumer.DeleteConsumerRequest(consumer_id="consumer-1"), call())
    await authenticators.delete_credentials(consumer.DeleteCredentialsRequest(app_instance_id="app-1"), call())

    assert [seen.json() for seen in d1.calls] == [{"reasonCode": "ISSUER_DECISION"}] * 2


async def test_an_unknown_installation_is_not_found(d1: FakeD1, authenticators: D1Authenticators) -> None:
    d1.replies = [reply({"error": "Application instance does not exist"}, 404)]

    error = await failure_of(
        authenticators.delete_credentials(consumer.DeleteCredentialsRequest(app_instance_id="app-1"), call())
    )

    assert kind_of(error) == ("UPSTREAM_NOT_FOUND", "REJECTED")
    assert "Application instance does not exist" in error.message


@pytest.mark.parametrize(
    ("named", "fields"),
    [
        ("dateOfBirth", ["date_of_birth"]),
        (
            "personalInformation.mobilePhoneNumber.phoneNumber",
            ["personal_information.mobile_phone_number.phone_number"],
        ),
        ("personalInformation.shoeSize", ["personal_information.shoeSize"]),
        ("rania@bank.example 791234567", []),
    ],
)
async def test_a_field_of_the_person_that_d1_rejects_is_named_in_the_contracts_words_and_never_its_value(
    d1: FakeD1, consumers: D1Consumers, named: str, fields: list[str]
) -> None:
    d1.replies = [reply({"errorCode": "FIELD_INVALID_FORMAT", "error": named}, 400)]
    request = consumer.RegisterConsumerRequest(consumer_id="consumer-1", personal_information=PERSON)

    error = await failure_of(consumers.register_consumer(request, call()))

    assert [violation.field for violation in error.violations] == fields
    assert not {"rania", "791234567"} & set(error.message.replace("@", " ").split())
