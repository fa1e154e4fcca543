"""The card calls that D1 refuses for a field, a header, a path or the encryption of card data."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.integration.sandbox.sandbox_caller import Caller, Response, jwk

RENEW = "v2/issuers/{issuer}/cards/{card}/operations:renew"
P256, P384 = (jwk.JWK.generate(kty="EC", crv=curve) for curve in ("P-256", "P-384"))
ACCOUNT = {"default": True, "type": "CURRENT", "number": "001", "currencyCode": "EUR"}


def is_refused(response: Response, field: str, code: str = "FIELD_INVALID_FORMAT") -> bool:
    return (response.status, response.json) == (400, {"errorCode": code, "error": field})


async def send(caller: Caller, verb: str, **changes: Any) -> Response:
    """Make one of the card calls with changed fields."""
    calls = {"register": caller.register, "create": caller.create}
    return await calls.get(verb, partial(caller.operate, verb))(**changes)


@pytest.mark.parametrize(
    ("verb", "field", "values"),
    [
        ("register", "consumerId", ["", "a b", "x" * 65, 1, None]),
        ("register", "cardProductId", ["", "a/b", "x" * 49, {}]),
        ("register", "nameOnCard", ["x" * 27, "N4ME", "Zo\u00eb"]),
        ("register", "secondNameOnCard", ["x" * 27, "a,b"]),
        ("register", "state", [1, None]),
        ("register", "encryptedData", ["", "x", "a.b.c.d.e", 1, None, "a.." + "b" * 8192 + ".c.d"]),
        ("create", "accounts", [None, [], ["x"]]),
        ("renew", "newCardId", ["x" * 49]),
        ("renew", "encryptedData", ["x"]),
        *((verb, "reason", ["no!"]) for verb in ("renew", "replace", "delete", "suspend", "resume")),
        *((verb, "reasonCode", [None, 1, "", "lost"]) for verb in ("replace", "delete", "suspend", "resume")),
        ("renew", "reasonCode", [1, "", "expired"]),
    ],
)
async def test_a_malformed_or_missing_field_is_named(caller: Caller, verb: str, field: str, values: list[Any]) -> None:
    if verb != "register":
        await caller.register()
    cards = caller.cards()

    for value in values:
        assert is_refused(await send(caller, verb, **{field: value}), field), value
    assert caller.cards() == cards
    if verb == "register":
        assert is_refused(await caller.register(**{field: values[0], "consumerId": ""}), "consumerId"), "the first one"


@pytest.mark.parametrize(
    ("verb", "field", "values"),
    [
        ("register", "state", ["SUSPENDED"]),
        ("register", "cardProductId", ["none"]),
        ("create", "cardProductId", ["none"]),
    ],
)
async def test_a_value_outside_its_closed_list_is_a_wrong_one(
    caller: Caller, verb: str, field: str, values: list[str]
) -> None:
    await caller.register()

    for value in values:
        assert is_refused(await send(caller, verb, **{field: value}), field, "FIELD_INVALID_VALUE"), value


async def test_a_malformed_field_of_an_account_is_named(caller: Caller) -> None:
    for field, value in {"default": "yes", "type": 1, "number": 1, "currencyCode": "euro"}.items():
        assert is_refused(await caller.create(accounts=[ACCOUNT, ACCOUNT | {field: value}]), field)


async def test_ids_and_headers_have_their_form(caller: Caller) -> None:
    await caller.register()

    for card_id in ("x" * 49, "a.b", "a%20b", "%C3%A9"):
        assert is_refused(await caller.register(card_id), "cardId")
    for name, value in (("x-correlation-id", "a b"), ("x-user-id", "x" * 16)):
        assert is_refused(await caller.call("POST", RENEW, {}, **{name: value}), name)
    taken = await caller.call("POST", RENEW, {}, **{"x-correlation-id": "a_1-B", "x-user-id": "operator-1"})
    assert taken.status == 204


async def test_only_the_issuer_that_d1_knows_is_served(caller: Caller) -> None:
    for issuer_id, status in (("SOMEBODY01", 404), ("SHORT", 400), ("SANDBOX0011", 400)):
        assert (await caller.call("PUT", f"v2/issuers/{issuer_id}/cards/card-1", {})).status == status


async def test_a_body_that_is_no_json_object_gets_a_400_without_details(caller: Caller) -> None:
    path = f"/banking/v2/issuers/{caller.sandbox.issuer_id}/cards/c"
    for body in ("{", "[]", '"x"', "null", "NaN", '{"consumerId": "x"}'):
        content_type = "text/plain" if "consumerId" in body else "application/json"
        headers = caller.headers() | {"Content-Type": content_type}

        response = await caller.send("PUT", path, data=body, headers=headers)

        assert (response.status, response.text) == (400, ""), body


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("pan", ["400000123", "4" * 20, "4000 0012 3456 7899", "\u0664" * 16, 4000001234567899, None]),
        ("exp", ["2812", "0028", "12/28", 1228, None]),
    ],
)
async def test_card_data_are_10_to_19_digits_and_a_month_before_a_year(
    caller: Caller, field: str, values: list[object]
) -> None:
    for value in values:
        card = {"pan": "4" * 16, "exp": "1228"} | {field: value}
        given = {name: value for name, value in card.items() if value is not None}
        assert is_refused(await caller.register(encryptedData=caller.sealed(json.dumps(given))), field), value
    assert [(await caller.register(pan[-2:], pan=pan)).status for pan in ("1" * 10, "2" * 19)] == [204, 204]


def altered(caller: Caller) -> str:
    header, key, vector, ciphertext, tag = caller.encrypted().split(".")
    return f"{header}.{key}.{vector}.{'B' if ciphertext[0] == 'A' else 'A'}{ciphertext[1:]}.{tag}"


@pytest.mark.parametrize(
    ("code", "encrypt"),
    [
        *(
            ("FIELD_INVALID_FORMAT", partial(Caller.encrypted, **header))
            for header in ({"alg": "ECDH-ES+A256KW"}, {"enc": "A128GCM"}, {"enc": "A256CBC-HS512"}, {"key": P384})
        ),
        ("FIELD_INVALID_FORMAT", lambda caller: caller.encrypted().replace("..", ".AAAA.", 1)),
        ("FIELD_INVALID_VALUE", altered),
        *(
            ("FIELD_INVALID_VALUE", partial(Caller.encrypted, **header))
            for header in ({"kid": "unknown"}, {"kid": None}, {"kid": ["list"]}, {"key": P256})
        ),
        *(
            ("FIELD_INVALID_VALUE", partial(Caller.sealed, plaintext=text))
            for text in ("x", "[]", '"4000001234567899"')
        ),
    ],
)
async def test_card_data_that_d1_cannot_decrypt_or_read_are_refused(
    caller: Caller, code: str, encrypt: Callable[[Caller], str]
) -> None:
    assert is_refused(await caller.register(encryptedData=encrypt(caller)), "encryptedData", code)
