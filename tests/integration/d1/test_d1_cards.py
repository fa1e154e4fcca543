"""Each call as D1 sees it, and each answer as the caller sees it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from jwcrypto import jwe as oracle_jwe  # type: ignore[import-untyped]
from jwcrypto import jwk as oracle_jwk

from adapters.d1.api import D1CardIssuer
from gateway.errors import GatewayError
from gateway.ports import Call, CardIssuer
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.integration.d1.fake_d1 import (
    CREATE,
    CREDENTIALS,
    D1_KEY,
    ISSUER,
    PAN,
    REGISTER,
    SUSPEND,
    FakeD1,
    answering,
    call,
)

BASE = f"/banking/v2/issuers/{ISSUER}/cards"


def opened(token: str) -> Any:
    jwe = oracle_jwe.JWE(algs=["ECDH-ES", "A256GCM"])
    jwe.deserialize(token, oracle_jwk.JWK(**D1_KEY.as_dict(private=True)))
    return json.loads(jwe.payload)


async def make(issuer: CardIssuer, request: Message) -> Message:
    """Make the call that a request is meant for."""
    calls: dict[type[Message], Callable[[Any, Call], Awaitable[Message]]] = {
        card.CreateCardRequest: issuer.create_card,
        card.RegisterCardRequest: issuer.register_card,
        card.RenewCardRequest: issuer.renew_card,
        card.ReplaceCardRequest: issuer.replace_card,
        card.DeleteCardRequest: issuer.delete_card,
        card.SuspendCardRequest: issuer.suspend_card,
        card.ResumeCardRequest: issuer.resume_card,
    }
    return await calls[type(request)](request, call())


@pytest.mark.parametrize(
    ("request_", "method", "path", "body", "response"),
    [
        (
            card.CreateCardRequest(
                consumer_id="consumer-1",
                card_product_id="product-1",
                state=card.CARD_STATE_INACTIVE,
                accounts=[
                    card.Account(default=True, type="CURRENT", number="DE02", currency_code="EUR"),
                    card.Account(number="DE03", currency_code="978"),
                ],
                name_on_card="A. Name",
                second_name_on_card="B-C",
            ),
            "POST",
            BASE,
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
            card.CreateCardResponse(card_id="crd_1"),
        ),
        (
            card.RegisterCardRequest(
                card_id="card-1", consumer_id="consumer-1", card_product_id="product-1", encrypted_data="a..b.c.d"
            ),
            "PUT",
            f"{BASE}/card-1",
            {"consumerId": "consumer-1", "cardProductId": "product-1", "encryptedData": "a..b.c.d"},
            card.RegisterCardResponse(),
        ),
        (
            card.RenewCardRequest(card_id="card-1", reason="Expired", new_card_id="card-2", encrypted_data="a..b.c.d"),
            "POST",
            f"{BASE}/card-1/operations:renew",
            {"reason": "Expired", "newCardId": "card-2", "encryptedData": "a..b.c.d"},
            card.RenewCardResponse(),
        ),
        (
            card.RenewCardRequest(card_id="card-1"),
            "POST",
            f"{BASE}/card-1/operations:renew",
            {},
            card.RenewCardResponse(),
        ),
        (
            card.ReplaceCardRequest(card_id="card-1", reason_code="CARD_LOST", new_card_id="card-2"),
            "POST",
            f"{BASE}/card-1/operations:replace",
            {"reasonCode": "CARD_LOST", "newCardId": "card-2"},
            card.ReplaceCardResponse(),
        ),
        (
            card.DeleteCardRequest(card_id="card-1", reason="Account closed", reason_code="CLOSED_ACCOUNT"),
            "POST",
            f"{BASE}/card-1/operations:delete",
            {"reason": "Account closed", "reasonCode": "CLOSED_ACCOUNT"},
            card.DeleteCardResponse(),
        ),
        (
            card.SuspendCardRequest(card_id="card-1", reason_code=card.SUSPEND_REASON_CARD_STOLEN),
            "POST",
            f"{BASE}/card-1/operations:suspend",
            {"reasonCode": "CARD_STOLEN"},
            card.SuspendCardResponse(),
        ),
        (
            card.ResumeCardRequest(card_id="card-1", reason_code=card.RESUME_REASON_USER_DECISION),
            "POST",
            f"{BASE}/card-1/operations:resume",
            {"reasonCode": "USER_DECISION"},
            card.ResumeCardResponse(),
        ),
    ],
    ids=["create", "register", "renew", "renew-bare", "replace", "delete", "suspend", "resume"],
)
async def test_a_call_reaches_d1_as_its_api_wants_it(
    d1: FakeD1, cards: D1CardIssuer, request_: Message, method: str, path: str, body: object, response: Message
) -> None:
    assert await make(cards, request_) == response

    (seen,) = d1.card_calls
    assert (seen.method, seen.raw_path) == (method, path)
    assert seen.json() == body
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Authorization"] == f"Bearer {d1.tokens[0]}"


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
    d1: FakeD1, cards: D1CardIssuer, request_: Message
) -> None:
    await make(cards, request_)

    (seen,) = d1.card_calls
    assert PAN.encode() not in seen.body
    assert opened(seen.json()["encryptedData"]) == {"pan": PAN, "exp": "0329"}


async def test_the_colon_of_an_operation_is_a_colon_on_the_wire(d1: FakeD1, cards: D1CardIssuer) -> None:
    await cards.suspend_card(SUSPEND, call())

    assert d1.card_calls[0].raw_path.endswith("/operations:suspend")


async def test_an_id_with_a_slash_stays_one_part_of_the_path(d1: FakeD1, cards: D1CardIssuer) -> None:
    request = card.SuspendCardRequest(card_id="a/../b?c", reason_code=card.SUSPEND_REASON_FRAUD)
    await cards.suspend_card(request, call())

    assert d1.card_calls[0].raw_path == f"{BASE}/a%2F..%2Fb%3Fc/operations:suspend"


async def test_correlation_and_user_id_go_with_the_call(d1: FakeD1, cards: D1CardIssuer) -> None:
    request = card.DeleteCardRequest(card_id="card-1", reason_code="CLOSED_CARD", user_id="operator-7")
    await cards.delete_card(request, call(correlation_id="trace_42"))

    (seen,) = d1.card_calls
    assert seen.headers["x-correlation-id"] == "trace_42"
    assert seen.headers["x-user-id"] == "operator-7"
    assert d1.token_calls[0].headers["x-correlation-id"] == "trace_42"


async def test_without_a_user_id_there_is_no_header_for_it(d1: FakeD1, cards: D1CardIssuer) -> None:
    await cards.suspend_card(SUSPEND, call())

    assert "x-user-id" not in d1.card_calls[0].headers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_success_will_do_where_no_body_is_needed(d1: FakeD1, cards: D1CardIssuer, status: int) -> None:
    d1.card_handler = answering(status)

    assert await cards.suspend_card(SUSPEND, call()) == card.SuspendCardResponse()


async def test_what_d1_says_beyond_the_card_id_is_kept(d1: FakeD1, cards: D1CardIssuer) -> None:
    extra = {"state": "ACTIVE", "limits": [1, {"daily": None}], "virtual": True}
    d1.card_handler = answering(200, json.dumps({"cardId": "crd_9", **extra}).encode())

    response = await cards.create_card(CREATE, call())

    assert response.card_id == "crd_9"
    assert json_format.MessageToDict(response.unrecognized) == extra


async def test_nothing_is_kept_where_d1_says_no_more(d1: FakeD1, cards: D1CardIssuer) -> None:
    response = await cards.create_card(CREATE, call())

    assert not response.HasField("unrecognized")
    assert len(d1.card_calls) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>created</html>",
        b"[]",
        b"{}",
        b'{"cardId":7}',
        b'{"cardId":""}',
        b'{"cardId":"a/b"}',
        b'{"cardId":"' + b"c" * 49 + b'"}',
        b'{"cardId":"crd_1","deep":' + b"[" * 40 + b"]" * 40 + b"}",
    ],
)
async def test_a_created_card_without_a_usable_id_leaves_the_outcome_unknown(
    d1: FakeD1, cards: D1CardIssuer, body: bytes
) -> None:
    d1.card_handler = answering(201, body)

    with pytest.raises(GatewayError) as caught:
        await cards.create_card(CREATE, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
    assert caught.value.outcome == error_pb2.OUTCOME_UNKNOWN
    assert caught.value.metadata == {"upstream": "d1", "upstream_status": "201"}


async def test_an_unknown_issuer_is_refused_before_anything_is_sent(d1: FakeD1, cards: D1CardIssuer) -> None:
    with pytest.raises(GatewayError) as caught:
        await cards.register_card(REGISTER, Call(issuer_id="ISSUER0002", correlation_id="correlation-1"))

    assert caught.value.reason == error_pb2.ERROR_REASON_ISSUER_UNKNOWN
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
    assert d1.token_calls == []


async def test_calls_one_after_the_other_share_a_connection(d1: FakeD1, cards: D1CardIssuer) -> None:
    for _ in range(5):
        await cards.suspend_card(SUSPEND, call())

    assert len({seen.peer for seen in d1.token_calls + d1.card_calls}) == 1


async def test_cookies_are_not_kept(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.card_handler = answering(204, Set_Cookie="session=1; Path=/")

    await cards.suspend_card(SUSPEND, call())
    await cards.suspend_card(SUSPEND, call())

    assert "Cookie" not in d1.card_calls[1].headers


async def test_a_redirect_is_not_followed(d1: FakeD1, cards: D1CardIssuer) -> None:
    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{d1.url}/elsewhere"})

    d1.card_handler = redirect

    with pytest.raises(GatewayError) as caught:
        await cards.suspend_card(SUSPEND, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
    assert caught.value.outcome == error_pb2.OUTCOME_UNKNOWN
    assert len(d1.card_calls) == 1
