import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.d1.model.store import Credentials
from tests.integration.sandbox.sandbox_caller import OTHER_PAN, PAN, Caller, jwk
from tests.integration.sandbox.sandbox_edge import Edge, Reply


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - the store sends no event
        await asyncio.sleep(0.01)


def waits(caller: Caller, card_id: str = "card-1") -> bool:
    return caller.sandbox.store.card(card_id).awaits_credentials


def answering(caller: Caller, **card: Any) -> Reply:
    return Reply(body={"encryptedData": caller.encrypted(plaintext=json.dumps(card))})


async def test_d1_requests_the_data_of_a_card_renewed_without_them(caller: Caller, edge: Edge) -> None:
    await caller.register("card-1")
    edge.replies["credentials"] = [answering(caller, pan=PAN, exp="1230")]

    renewed = await caller.operate("renew", "card-1")
    waited = waits(caller)
    await until(lambda: not waits(caller))

    assert (renewed.status, waited) == (204, True)
    assert caller.sandbox.store.card("card-1").details.credentials == Credentials(PAN, "1230")
    (call,) = edge.callbacks
    assert call.path == "/cms/api/v1/issuers/SANDBOX001/cards/card-1/credentials"


async def test_d1_requests_the_data_of_a_card_replaced_without_them_under_its_new_id(
    caller: Caller, edge: Edge
) -> None:
    await caller.register("card-1")
    edge.replies["credentials"] = [answering(caller, pan=OTHER_PAN, exp="1230", name="A. Cardholder", cvv="123")]

    await caller.operate("replace", "card-1", reasonCode="CARD_LOST", newCardId="card-2")
    await until(lambda: not waits(caller, "card-2"))

    assert caller.sandbox.store.card("card-2").details.credentials == Credentials(OTHER_PAN, "1230")
    assert edge.callbacks[0].path.endswith("/cards/card-2/credentials")
    assert (await caller.register("card-3", pan=OTHER_PAN)).status == 409


async def test_d1_does_not_request_data_that_it_has(caller: Caller, edge: Edge) -> None:
    await caller.register("card-1")

    await caller.operate("renew", "card-1", encryptedData=caller.encrypted(exp="1230"))
    await asyncio.sleep(0.2)

    assert edge.callbacks == []


async def test_d1_requests_data_until_they_arrive(caller: Caller, edge: Edge) -> None:
    await caller.register("card-1")
    edge.replies["credentials"] = [Reply(500), Reply(404), answering(caller, pan=PAN, exp="1230")]

    await caller.operate("renew", "card-1")
    await until(lambda: not waits(caller))

    assert len(edge.callbacks) == 3
    assert caller.sandbox.background.errors == []


async def test_d1_does_not_request_data_that_it_got_meanwhile(caller: Caller, edge: Edge) -> None:
    await caller.register("card-1")
    edge.replies["credentials"] = [Reply(500)]

    await caller.operate("renew", "card-1")
    await until(lambda: edge.callbacks)
    await caller.operate("renew", "card-1", encryptedData=caller.encrypted(exp="1231"))
    await asyncio.sleep(0.4)

    assert len(edge.callbacks) == 1
    assert caller.sandbox.store.card("card-1").details.credentials == Credentials(PAN, "1231")


async def test_data_that_come_for_a_deleted_card_are_dropped(caller: Caller, edge: Edge) -> None:
    await caller.register("card-1")
    edge.replies["credentials"] = [Reply(500), answering(caller, pan=PAN, exp="1230")]

    await caller.operate("renew", "card-1")
    await until(lambda: edge.callbacks)
    await caller.operate("delete", "card-1", reasonCode="CLOSED_CARD")
    await asyncio.sleep(0.4)

    assert caller.state("card-1") == "DELETED"
    assert caller.sandbox.background.errors == []


def _with_a_strange_key(caller: Caller) -> Reply:
    key = jwk.JWK.generate(kty="EC", crv="P-256", kid=caller.encryption_key["kid"])
    return Reply(body={"encryptedData": caller.encrypted(key=key)})


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (lambda _: Reply(204), "cmsGetCardCredentials got HTTP 204, which D1 does not know"),
        (lambda _: Reply(404, {"error": "Card unknown"}), "cmsGetCardCredentials got HTTP 404"),
        (lambda _: Reply(body={}), "encryptedData is missing or wrong"),
        (lambda _: Reply(body={"encryptedData": "a.b.c"}), "encryptedData is missing or wrong"),
        (_with_a_strange_key, "encryptedData has a value that is not allowed"),
        (lambda caller: answering(caller, pan=PAN, exp="3012"), "exp is missing or wrong"),
        (lambda caller: answering(caller, pan=PAN), "exp is missing or wrong"),
        (lambda caller: answering(caller, pan="123", exp="1230"), "pan is missing or wrong"),
        (lambda caller: answering(caller, pan=PAN, exp="1230", cvv="12"), "cvv is missing or wrong"),
        (lambda caller: answering(caller, pan=PAN, exp="1230", name="a" * 129), "name is missing or wrong"),
        (lambda caller: answering(caller, pan=OTHER_PAN, exp="1230"), "The card number is not one that this card can"),
    ],
)
async def test_data_that_d1_cannot_use_are_an_error_on_record(
    caller: Caller, edge: Edge, reply: Callable[[Caller], Reply], problem: str
) -> None:
    await caller.register("card-1")
    edge.replies["credentials"] = [reply(caller)]

    await caller.operate("renew", "card-1")
    await until(lambda: caller.sandbox.background.errors)

    (error,) = caller.sandbox.background.errors
    assert error.startswith(f"credentials of card-1: {problem}")
    assert PAN not in error
    assert len(edge.callbacks) == 4
    assert waits(caller)
