"""The card calls that D1 refuses for a field, a header, a path or the encryption of card data."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.sandbox.sandbox_caller import ACCOUNTS, Caller, Response, jwk

CARDS = "v2/issuers/{issuer}/cards"
RENEW = f"{CARDS}/{{card}}/operations:renew"


def error_in(response: Response) -> str:
    """Return the refused field, and check the shape of the refusal."""
    assert response.status == 400
    assert response.json == {"errorCode": "FIELD_INVALID_FORMAT", "error": response.json["error"]}
    return str(response.json["error"])


def is_wrong_value(response: Response, field: str) -> bool:
    return (response.status, response.json) == (400, {"errorCode": "FIELD_INVALID_VALUE", "error": field})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("consumerId", ["", "a b", "x" * 65, 1, None]),
        ("cardProductId", ["", "a/b", "x" * 49, {}]),
        ("nameOnCard", ["x" * 27, "N4ME", "Zo\u00eb"]),
        ("secondNameOnCard", ["x" * 27, "a,b"]),
        ("state", [1, None]),
        ("encryptedData", ["", "x", "a.b.c.d.e", 1, None, "a.." + "b" * 8192 + ".c.d"]),
    ],
)
async def test_a_malformed_field_of_a_registration_is_named(caller: Caller, field: str, values: list[Any]) -> None:
    for value in values:
        assert error_in(await caller.register(**{field: value})) == field
    assert caller.cards() == []


async def test_of_several_malformed_or_missing_fields_the_first_is_named(caller: Caller) -> None:
    body = {"consumerId": "c", "cardProductId": "light", "encryptedData": caller.encrypted()}

    for field in body:
        missing = {name: value for name, value in body.items() if name != field}
        assert error_in(await caller.call("PUT", f"{CARDS}/{{card}}", missing)) == field
    assert error_in(await caller.register(encryptedData="x", cardProductId="", consumerId="")) == "consumerId"


@pytest.mark.parametrize(
    ("field", "accounts"),
    [
        ("accounts", None),
        ("accounts", []),
        ("accounts", ["x"]),
        ("default", [ACCOUNTS[0] | {"default": "yes"}]),
        ("type", [ACCOUNTS[0] | {"type": 1}]),
        ("number", [ACCOUNTS[0] | {"number": 1}]),
        ("currencyCode", [ACCOUNTS[0] | {"currencyCode": "euro"}]),
    ],
)
async def test_a_malformed_account_of_a_card_to_create_is_named(caller: Caller, field: str, accounts: Any) -> None:
    assert error_in(await caller.create(accounts=accounts)) == field


@pytest.mark.parametrize(
    ("verb", "field", "body"),
    [
        ("replace", "reasonCode", {}),
        ("delete", "reasonCode", {}),
        ("suspend", "reasonCode", {}),
        ("resume", "reasonCode", {}),
        ("renew", "reason", {"reason": "no!"}),
        ("replace", "reason", {"reason": "no!"}),
        ("delete", "reason", {"reason": "no!"}),
        ("suspend", "reason", {"reason": "no!"}),
        ("resume", "reason", {"reason": "no!"}),
        ("renew", "newCardId", {"newCardId": "x" * 49}),
        ("replace", "newCardId", {"newCardId": "x" * 49, "reasonCode": "CARD_LOST"}),
        ("renew", "encryptedData", {"encryptedData": "x"}),
    ],
)
async def test_a_malformed_or_missing_field_of_an_operation_is_named(
    caller: Caller, verb: str, field: str, body: dict[str, Any]
) -> None:
    await caller.register()

    assert error_in(await caller.operate(verb, **body)) == field


@pytest.mark.parametrize(("verb", "reason"), [("suspend", "CARD_FOUND"), ("resume", "CARD_LOST"), ("suspend", "")])
async def test_a_reason_code_outside_its_closed_list_is_a_wrong_value(caller: Caller, verb: str, reason: str) -> None:
    await caller.register()

    assert is_wrong_value(await caller.operate(verb, reasonCode=reason), "reasonCode")


async def test_an_initial_state_or_a_product_that_there_is_not_is_a_wrong_value(caller: Caller) -> None:
    assert is_wrong_value(await caller.register(state="SUSPENDED"), "state")
    for response in (await caller.register(cardProductId="none"), await caller.create(cardProductId="none")):
        assert is_wrong_value(response, "cardProductId")


async def test_fields_outside_the_contract_are_ignored(caller: Caller) -> None:
    assert (await caller.register(unknown={"a": 1})).status == 204
    assert (await caller.create(unknown=1, accounts=[ACCOUNTS[0] | {"unknown": 1}])).status == 201
    assert (await caller.operate("delete", reasonCode="CLOSED_CARD", unknown=1)).status == 204


async def test_ids_and_headers_have_their_form(caller: Caller) -> None:
    await caller.register()

    for card_id in ("x" * 49, "a.b", "a%20b", "%C3%A9"):
        assert error_in(await caller.register(card_id)) == "cardId"
    for name, value in (("x-correlation-id", "a b"), ("x-user-id", "x" * 16)):
        assert error_in(await caller.call("POST", RENEW, {}, **{name: value})) == name
    taken = await caller.call("POST", RENEW, {}, **{"x-correlation-id": "a_1-B", "x-user-id": "operator-1"})
    assert taken.status == 204


@pytest.mark.parametrize(("issuer_id", "status"), [("SOMEBODY01", 404), ("SHORT", 400), ("SANDBOX0011", 400)])
async def test_only_the_issuer_that_d1_knows_is_served(caller: Caller, issuer_id: str, status: int) -> None:
    assert (await caller.call("PUT", f"v2/issuers/{issuer_id}/cards/card-1", {})).status == status


@pytest.mark.parametrize("spelling", ["operations/renew", "operations-renew", "operations:Renew"])
async def test_an_operation_is_spelt_with_a_colon_and_posted(caller: Caller, spelling: str) -> None:
    await caller.register()

    assert (await caller.call("POST", f"{CARDS}/{{card}}/{spelling}")).status == 404
    assert (await caller.call("GET", RENEW)).status == 405
    assert (await caller.call("POST", RENEW)).status == 204, "a renewal needs no body"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(body, "application/json") for body in ("{", "[]", '"x"', "null", "NaN")]
    + [('{"consumerId": "x"}', "text/plain")],
)
async def test_a_body_that_is_no_json_object_gets_a_400_without_details(
    caller: Caller, body: str, content_type: str
) -> None:
    headers = caller.headers() | {"Content-Type": content_type}

    response = await caller.send(
        "PUT", f"/banking/v2/issuers/{caller.sandbox.issuer_id}/cards/c", data=body, headers=headers
    )

    assert (response.status, response.text) == (400, "")


@pytest.mark.parametrize(
    ("field", "card"),
    [
        ("pan", {"pan": "400000123", "exp": "1228"}),
        ("pan", {"pan": "4" * 20, "exp": "1228"}),
        ("pan", {"pan": "4000 0012 3456 7899", "exp": "1228"}),
        ("pan", {"pan": "\u0664" * 16, "exp": "1228"}),
        ("pan", {"pan": 4000001234567899, "exp": "1228"}),
        ("pan", {"exp": "1228"}),
        ("exp", {"pan": "4" * 16}),
        ("exp", {"pan": "4" * 16, "exp": "2812"}),
        ("exp", {"pan": "4" * 16, "exp": "0028"}),
        ("exp", {"pan": "4" * 16, "exp": "12/28"}),
        ("exp", {"pan": "4" * 16, "exp": 1228}),
    ],
)
async def test_card_data_are_10_to_19_digits_and_a_month_before_a_year(
    caller: Caller, field: str, card: dict[str, object]
) -> None:
    assert error_in(await caller.register(encryptedData=caller.sealed(json.dumps(card)))) == field


async def test_the_shortest_and_the_longest_pan_are_taken(caller: Caller) -> None:
    assert [(await caller.register(pan[-2:], pan=pan)).status for pan in ("1" * 10, "2" * 19)] == [204, 204]


@pytest.mark.parametrize(
    "encrypt",
    [
        lambda caller: caller.encrypted(alg="ECDH-ES+A256KW"),
        lambda caller: caller.encrypted(enc="A128GCM"),
        lambda caller: caller.encrypted(enc="A256CBC-HS512"),
        lambda caller: caller.encrypted(key=jwk.JWK.generate(kty="EC", crv="P-384")),
        lambda caller: caller.encrypted().replace("..", ".AAAA.", 1),
    ],
)
async def test_card_data_of_another_algorithm_curve_or_key_wrapping_are_malformed(
    caller: Caller, encrypt: Callable[[Caller], str]
) -> None:
    assert error_in(await caller.register(encryptedData=encrypt(caller))) == "encryptedData"


def altered(caller: Caller) -> str:
    header, key, vector, ciphertext, tag = caller.encrypted().split(".")
    return f"{header}.{key}.{vector}.{'B' if ciphertext[0] == 'A' else 'A'}{ciphertext[1:]}.{tag}"


@pytest.mark.parametrize(
    "encrypt",
    [
        altered,
        lambda caller: caller.encrypted(kid="unknown"),
        lambda caller: caller.encrypted(kid=None),
        lambda caller: caller.encrypted(kid=["list"]),
        lambda caller: caller.encrypted(key=jwk.JWK.generate(kty="EC", crv="P-256")),
        lambda caller: caller.sealed("x"),
        lambda caller: caller.sealed("[]"),
        lambda caller: caller.sealed('"4000001234567899"'),
    ],
)
async def test_card_data_that_d1_cannot_decrypt_or_read_are_a_wrong_value(
    caller: Caller, encrypt: Callable[[Caller], str]
) -> None:
    assert is_wrong_value(await caller.register(encryptedData=encrypt(caller)), "encryptedData")
