"""Key rotation over the control API."""

from typing import Any

import pytest
from jwcrypto import jwk  # type: ignore[import-untyped]

from tests.integration.sandbox.sandbox_caller import OTHER_PAN, PAN, Caller
from tests.integration.sandbox.sandbox_operator import Operator


def _new_key(curve: str = "P-256") -> Any:
    return jwk.JWK.generate(kty="EC", crv=curve, kid="second", use="sig")


def _public(key: Any) -> dict[str, Any]:
    return dict(key.export_public(as_dict=True))


async def _kids(operator: Operator, kind: str) -> dict[str, int]:
    listed = (await operator.send("GET", "/sandbox/keys")).json[kind]
    return {each["kid"]: each["lookups"] for each in listed}


async def test_two_assertion_keys_are_taken_until_one_is_removed(stranger: Caller, operator: Operator) -> None:
    first, second = stranger.assertion_key, _new_key()
    added = await operator.send("POST", "/sandbox/keys/assertion", _public(second))
    assert added.status == 204

    for stranger.assertion_key in (first, second):
        assert (await stranger.get_token()).status == 200
    removed = await operator.send("DELETE", f"/sandbox/keys/assertion/{first['kid']}")

    assert removed.status == 204
    stranger.assertion_key = first
    assert (await stranger.get_token()).status == 401
    stranger.assertion_key = second
    assert (await stranger.get_token()).status == 200


async def test_two_encryption_keys_are_read_with_until_one_is_removed(caller: Caller, operator: Operator) -> None:
    first = caller.encryption_key
    made = await operator.send("POST", "/sandbox/keys/encryption")
    assert made.status == 201
    assert "d" not in made.json
    second = jwk.JWK(**made.json)

    assert (await caller.register("card-1", pan=PAN)).status == 204
    caller.encryption_key = second
    assert (await caller.register("card-2", pan=OTHER_PAN)).status == 204
    removed = await operator.send("DELETE", f"/sandbox/keys/encryption/{first['kid']}")

    assert removed.status == 204
    caller.encryption_key = first
    assert (await caller.operate("renew", "card-1", encryptedData=caller.encrypted())).status == 400
    caller.encryption_key = second
    assert (await caller.operate("renew", "card-1", encryptedData=caller.encrypted())).status == 204


async def test_how_often_each_key_was_named_is_listed(caller: Caller, operator: Operator) -> None:
    await operator.send("POST", "/sandbox/keys/assertion", _public(_new_key()))
    await caller.register("card-1")

    assert await _kids(operator, "assertion") == {caller.assertion_key["kid"]: 1, "second": 0}
    assert await _kids(operator, "encryption") == {caller.encryption_key["kid"]: 1}


async def test_a_kid_is_given_once(operator: Operator) -> None:
    await operator.send("POST", "/sandbox/keys/assertion", _public(_new_key()))

    again = await operator.send("POST", "/sandbox/keys/assertion", _public(_new_key()))

    assert (again.status, again.json) == (409, {"error": "a key with this kid exists"})


@pytest.mark.parametrize("kind", ["assertion", "encryption"])
async def test_a_key_that_is_not_there_is_not_removed(operator: Operator, kind: str) -> None:
    response = await operator.send("DELETE", f"/sandbox/keys/{kind}/nobody")

    assert (response.status, response.json) == (404, {"error": "no such key"})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kid": None}, "kid is missing or malformed"),
        ({"kty": "RSA"}, "kty is not one of the values allowed"),
        ({"x": 5}, "JWK is missing or malformed"),
        ({"x": "AAAA"}, "JWK is missing or malformed"),
        ({"d": "AAAA"}, "d is not one of the values allowed"),
    ],
)
async def test_what_is_no_public_key_is_refused(operator: Operator, change: dict[str, Any], error: str) -> None:
    response = await operator.send("POST", "/sandbox/keys/assertion", _public(_new_key()) | change)

    assert (response.status, response.json) == (400, {"error": error})


async def test_a_key_on_another_curve_is_refused(operator: Operator) -> None:
    response = await operator.send("POST", "/sandbox/keys/assertion", _public(_new_key("P-384")))

    assert (response.status, response.json) == (400, {"error": "crv is not one of the values allowed"})
