"""Each call as D1 sees it, and each response as the caller sees it."""

import json
import re
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from jwcrypto import jwe as oracle_jwe  # type: ignore[import-untyped]
from jwcrypto import jwk as oracle_jwk

from adapters.d1.api import D1Authenticators, D1CardIssuer, D1Client, D1Consumers
from gateway.ports.meter import Unmeasured
from issuer.card.v1 import messages_pb2 as card
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from tests.integration.upstreams.fake_d1 import (
    CREATE,
    CREATED,
    CREDENTIALS,
    D1_KEY,
    DONE,
    PAN,
    REGISTER,
    SUSPEND,
    FakeD1,
)
from tests.integration.upstreams.fake_upstream import ISSUER, Reply, call, failure_of, kind_of, reply

V1 = f"/banking/v1/issuers/{ISSUER}"
V2 = f"/banking/v2/issuers/{ISSUER}"
BASE = f"{V2}/cards"

PERSON = personal.PersonalInformation(
    language="ar-JO",
    first_name="رانيا",
    middle_name="A.",
    last_name="O'Neil",
    title="Dr.",
    date_of_birth="1990-01-25",
    email="rania@bank.example",
    mobile_phone_number=personal.PhoneNumber(country_code="+962", phone_number="791234567"),
    residency_address=personal.PostalAddress(
        line1="1 First Street", line2="Flat 2", city="Amman", state="Amman", zip_code="11118", country_code="JO"
    ),
)
PERSON_AT_D1 = {
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


def opened(token: str) -> Any:
    jwe = oracle_jwe.JWE(algs=["ECDH-ES", "A256GCM"])
    jwe.deserialize(token, oracle_jwk.JWK(**D1_KEY.as_dict(private=True)))
    return json.loads(jwe.payload)


async def make(client: D1Client, request: Message) -> Message:
    """Make the call that a request is meant for."""
    name = type(request).__name__.removesuffix("Request")
    method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    for port in (D1CardIssuer(client), D1Consumers(client), D1Authenticators(client)):
        if hasattr(port, method):
            response: Message = await getattr(port, method)(request, call())
            return response
    raise LookupError(name)


@pytest.mark.parametrize(
    ("request_", "sent", "body"),
    [
        (
            card.CreateCardRequest(
                consumer_id="consumer-1",
                card_product_id="product-1",
                state=card.INITIAL_CARD_STATE_INACTIVE,
                accounts=[
                    card.CardAccount(is_default=True, type="CURRENT", number="DE02", currency_code="EUR"),
                    card.CardAccount(number="DE03", currency_code="978"),
                ],
                name_on_card="A. Name",
                second_name_on_card="B-C",
            ),
            f"POST {BASE}",
            {
                "consumerId": "consumer-1",
                "cardProductId": "product-1",
                "state": "INACTIVE",
                "accounts": [
                    {"default": True, "type": "CURRENT", "number": "DE02", "currencyCode": "EUR"},
                    {"default": False, "number": "DE03", "currencyCode": "978"},
                ],
                "nameOnCard": "A. Name",
                "secondNameOnCard": "B-C",
            },
        ),
        (
            card.RegisterCardRequest(
                card_id="card-1", consumer_id="consumer-1", card_product_id="product-1", encrypted_data="a..b.c.d"
            ),
            f"PUT {BASE}/card-1",
            {"consumerId": "consumer-1", "cardProductId": "product-1", "encryptedData": "a..b.c.d"},
        ),
        (
            card.RenewCardRequest(
                card_id="card-1",
                reason="Expired",
                reason_code="USER_DECISION",
                new_card_id="card-2",
                encrypted_data="a..b.c.d",
            ),
            f"POST {BASE}/card-1/operations:renew",
            {"reason": "Expired", "reasonCode": "USER_DECISION", "newCardId": "card-2", "encryptedData": "a..b.c.d"},
        ),
        (
            card.RenewCardRequest(card_id="card-1"),
            f"POST {BASE}/card-1/operations:renew",
            {"reasonCode": "ISSUER_DECISION"},
        ),
        (
            card.ReplaceCardRequest(card_id="card-1", reason_code="CARD_LOST", new_card_id="card-2"),
            f"POST {BASE}/card-1/operations:replace",
            {"reasonCode": "CARD_LOST", "newCardId": "card-2"},
        ),
        (
            card.DeleteCardRequest(card_id="card-1", reason="Account closed", reason_code="CLOSED_ACCOUNT"),
            f"POST {BASE}/card-1/operations:delete",
            {"reason": "Account closed", "reasonCode": "CLOSED_ACCOUNT"},
        ),
        (
            card.SuspendCardRequest(card_id="card-1", reason_code="CARD_STOLEN"),
            f"POST {BASE}/card-1/operations:suspend",
            {"reasonCode": "CARD_STOLEN"},
        ),
        (
            card.ResumeCardRequest(card_id="card-1", reason_code="USER_DECISION"),
            f"POST {BASE}/card-1/operations:resume",
            {"reasonCode": "USER_DECISION"},
        ),
        (
            consumer.RegisterConsumerRequest(consumer_id="consumer-1", personal_information=PERSON),
            f"PUT {V2}/consumers/consumer-1",
            {"personalInformation": PERSON_AT_D1},
        ),
        (
            consumer.DeleteConsumerRequest(consumer_id="consumer-1", reason="Moved away", reason_code="USER_DECISION"),
            f"POST {V1}/consumers/consumer-1/operations:delete",
            {"reason": "Moved away", "reasonCode": "USER_DECISION"},
        ),
        (
            consumer.DeleteConsumerRequest(consumer_id="consumer-1"),
            f"POST {V1}/consumers/consumer-1/operations:delete",
            {"reasonCode": "ISSUER_DECISION"},
        ),
        (
            consumer.DeleteAuthenticatorRequest(
                app_instance_id="app-1", reason="Phone lost", reason_code="USER_DECISION"
            ),
            f"POST {V1}/appinstances/app-1/authncredentials/operations:delete",
            {"reason": "Phone lost", "reasonCode": "USER_DECISION"},
        ),
        (
            consumer.DeleteAuthenticatorRequest(app_instance_id="app-1"),
            f"POST {V1}/appinstances/app-1/authncredentials/operations:delete",
            {"reasonCode": "ISSUER_DECISION"},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
async def test_a_call_reaches_d1_as_its_api_wants_it(
    d1: FakeD1, client: D1Client, request_: Message, sent: str, body: object
) -> None:
    creates = isinstance(request_, card.CreateCardRequest)
    d1.replies = [CREATED if creates else DONE]

    response = await make(client, request_)

    assert type(response).__name__ == type(request_).__name__.replace("Request", "Response")
    assert json_format.MessageToDict(response) == ({"cardId": "crd_1"} if creates else {})

    (seen,) = d1.calls
    assert f"{seen.method} {seen.path}" == sent
    assert seen.json() == body
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["authorization"] == f"Bearer {d1.tokens[0]}"


@pytest.mark.parametrize(
    "request_",
    [
        REGISTER,
        card.RenewCardRequest(card_id="card-1", credentials=CREDENTIALS),
        card.ReplaceCardRequest(card_id="card-1", reason_code="FRAUD", credentials=CREDENTIALS),
    ],
    ids=["register", "renew", "replace"],
)
async def test_credentials_in_clear_reach_d1_encrypted_for_it_alone(
    d1: FakeD1, client: D1Client, request_: Message
) -> None:
    await make(client, request_)

    (seen,) = d1.calls
    assert PAN.encode() not in seen.body
    assert opened(seen.json()["encryptedData"]) == {"pan": PAN, "exp": "0329"}


@pytest.mark.parametrize(
    ("given", "body"),
    [
        (None, {}),
        (personal.PersonalInformation(), {}),
        (
            personal.PersonalInformation(
                language="en-US",
                mobile_phone_number=personal.PhoneNumber(),
                residency_address=personal.PostalAddress(),
            ),
            {"personalInformation": {"language": "en-US"}},
        ),
        (personal.PersonalInformation(language="en-US"), {"personalInformation": {"language": "en-US"}}),
    ],
)
async def test_what_is_not_given_of_a_person_is_not_sent(
    d1: FakeD1, client: D1Client, given: personal.PersonalInformation | None, body: object
) -> None:
    await make(client, consumer.RegisterConsumerRequest(consumer_id="consumer-1", personal_information=given))

    assert d1.calls[0].json() == body


async def test_after_its_deadline_a_call_is_not_sent_nor_is_a_token_fetched(d1: FakeD1, cards: D1CardIssuer) -> None:
    error = await failure_of(cards.suspend_card(SUSPEND, call(0)))

    assert kind_of(error) == ("DEADLINE_EXCEEDED", "NOT_SENT")
    assert d1.seen == []


@pytest.mark.parametrize("user_id", ["operator-7", ""])
async def test_correlation_and_user_id_go_with_the_call(d1: FakeD1, client: D1Client, user_id: str) -> None:
    for request in (
        card.DeleteCardRequest(card_id="card-1", reason_code="CLOSED_CARD", user_id=user_id),
        consumer.RegisterConsumerRequest(consumer_id="consumer-1", user_id=user_id),
    ):
        await make(client, request)

    assert [seen.headers["x-correlation-id"] for seen in d1.seen] == ["correlation-1"] * 3
    assert [seen.headers.get("x-user-id") for seen in d1.calls] == [user_id or None] * 2


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_success_will_do_where_no_body_is_needed(d1: FakeD1, cards: D1CardIssuer, status: int) -> None:
    d1.replies = [reply(status=status)]

    assert await cards.suspend_card(SUSPEND, call()) == card.SuspendCardResponse()


async def test_json_that_d1_writes_in_its_own_way_is_read(d1: FakeD1, cards: D1CardIssuer) -> None:
    odd = rb'{"cardId":"crd_1","reference":74999999999999999999991,"factor":1e999,"name":"Caf\ud83d","none":null}'
    d1.replies = [reply(b"\xef\xbb\xbf" + odd, 201)]

    created = await cards.create_card(CREATE, call())

    assert created.card_id == "crd_1"
    assert json_format.MessageToDict(created.unrecognized) == {
        "reference": "74999999999999999999991",
        "factor": "1e999",
        "name": "Caf\ufffd",
        "none": None,
    }


_RENEW = card.RenewCardRequest(card_id="card-1", new_card_id="card-2")
_REPLACE = card.ReplaceCardRequest(card_id="card-1", reason_code="FRAUD", new_card_id="card-2")


@pytest.mark.parametrize("request_", [_RENEW, _REPLACE], ids=["renew", "replace"])
@pytest.mark.parametrize(
    ("reply_", "card_id", "unrecognized"),
    [
        (reply(status=200), "", {}),
        (reply({}, 200), "", {}),
        (reply({"cardId": None}, 200), "", {}),
        (reply({"cardId": "card-2"}, 200), "card-2", {}),
        (reply({"cardId": "crd_of_D1", "state": "ACTIVE"}, 201), "crd_of_D1", {"state": "ACTIVE"}),
        (reply({"state": "ACTIVE"}, 202), "", {"state": "ACTIVE"}),
        (reply({"cardId": 7}, 200), "", {"cardId": 7.0}),
        (reply({"cardId": "c" * 49}, 200), "", {"cardId": "c" * 49}),
    ],
)
async def test_the_id_of_the_card_that_follows_reaches_the_caller(
    d1: FakeD1, client: D1Client, request_: Message, reply_: Reply, card_id: str, unrecognized: dict[str, Any]
) -> None:
    d1.replies = [reply_]

    response: Any = await make(client, request_)

    assert response.card_id == card_id
    assert json_format.MessageToDict(response.unrecognized) == unrecognized
    assert response.HasField("unrecognized") == bool(unrecognized)


class _Counted(Unmeasured):
    def __init__(self) -> None:
        self.misfits: list[tuple[str, str, str]] = []

    def misfit(self, upstream: str, message: str, field: str) -> None:
        self.misfits.append((upstream, message, field))


async def test_an_id_that_cannot_be_used_is_counted(d1: FakeD1, client: D1Client) -> None:
    d1.replies, meter = [reply({"cardId": "not an id"}, 200)], _Counted()

    await D1CardIssuer(client, meter).renew_card(_RENEW, call())

    assert meter.misfits == [("d1", "renewed_card", "cardId")]


@pytest.mark.parametrize(
    "body",
    [b'{"cardId":"' + b"c" * 49 + b'"}', b'{"cardId":"crd_1","deep":' + b"[" * 40 + b"]" * 40 + b"}"],
)
async def test_a_created_card_without_a_usable_id_leaves_the_outcome_unknown(
    d1: FakeD1, cards: D1CardIssuer, body: bytes
) -> None:
    d1.replies = [reply(body, 201)]

    error = await failure_of(cards.create_card(CREATE, call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
    assert error.metadata == {"upstream": "d1", "upstream_status": "201"}
