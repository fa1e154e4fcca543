import json
from typing import Any

import pytest

from tests.integration.sandbox.sandbox_caller import ACCOUNTS, PAN, Caller, Response, jwk


def wrong_format(field: str) -> tuple[int, dict[str, str]]:
    return 400, {"errorCode": "FIELD_INVALID_FORMAT", "error": field}


def wrong_value(field: str) -> tuple[int, dict[str, str]]:
    return 400, {"errorCode": "FIELD_INVALID_VALUE", "error": field}


def outcome(response: Response) -> tuple[int, Any]:
    return response.status, response.json


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
async def test_a_registration_names_its_first_wrong_field(caller: Caller, field: str, values: list[Any]) -> None:
    for value in values:
        response = await caller.register("card-1", **{field: value})
        assert outcome(response) == wrong_format(field)
    assert caller.sandbox.store.cards() == ()


async def test_of_several_wrong_fields_the_first_is_named(caller: Caller) -> None:
    body = {"encryptedData": "x", "cardProductId": "", "consumerId": ""}

    assert outcome(await caller.call("PUT", "/card-1", body)) == wrong_format("consumerId")


@pytest.mark.parametrize("field", ["consumerId", "cardProductId", "encryptedData"])
async def test_a_registration_needs_its_fields(caller: Caller, field: str) -> None:
    body = {"consumerId": "consumer-1", "cardProductId": "light", "encryptedData": caller.encrypted()}
    del body[field]

    assert outcome(await caller.call("PUT", "/card-1", body)) == wrong_format(field)


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
async def test_a_card_is_created_with_accounts_in_order_only(caller: Caller, field: str, accounts: Any) -> None:
    caller.sandbox.store.add_consumer("consumer-1")

    assert outcome(await caller.create(accounts=accounts)) == wrong_format(field)


async def test_a_state_that_is_no_initial_one_is_a_wrong_value(caller: Caller) -> None:
    assert outcome(await caller.register("card-1", state="SUSPENDED")) == wrong_value("state")


async def test_fields_that_d1_does_not_know_are_ignored(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")

    assert (await caller.register("card-1", unknown={"a": 1})).status == 204
    assert (await caller.create(unknown=1, accounts=[ACCOUNTS[0] | {"unknown": 1}])).status == 201
    assert (await caller.operate("delete", "card-1", reasonCode="CLOSED_CARD", unknown=1)).status == 204


@pytest.mark.parametrize("verb", ["replace", "delete", "suspend", "resume"])
async def test_a_step_of_a_cards_life_needs_a_reason_code(caller: Caller, verb: str) -> None:
    await caller.register("card-1")

    assert outcome(await caller.operate(verb, "card-1")) == wrong_format("reasonCode")


@pytest.mark.parametrize(("verb", "reason"), [("suspend", "CARD_FOUND"), ("resume", "CARD_LOST"), ("suspend", "")])
async def test_a_reason_code_of_a_closed_list_is_one_of_it(caller: Caller, verb: str, reason: str) -> None:
    await caller.register("card-1")

    assert outcome(await caller.operate(verb, "card-1", reasonCode=reason)) == wrong_value("reasonCode")


@pytest.mark.parametrize("verb", ["renew", "replace", "delete", "suspend", "resume"])
async def test_a_reason_is_letters_digits_and_spaces(caller: Caller, verb: str) -> None:
    await caller.register("card-1")

    assert outcome(await caller.operate(verb, "card-1", reason="no!")) == wrong_format("reason")


@pytest.mark.parametrize("verb", ["renew", "replace"])
async def test_a_new_id_has_the_form_of_an_id(caller: Caller, verb: str) -> None:
    await caller.register("card-1")

    response = await caller.operate(verb, "card-1", reasonCode="CARD_LOST", newCardId="x" * 49)

    assert outcome(response) == wrong_format("newCardId")


@pytest.mark.parametrize("card_id", ["x" * 49, "a.b", "a%20b", "%C3%A9"])
async def test_a_card_id_in_the_path_has_its_form(caller: Caller, card_id: str) -> None:
    assert outcome(await caller.register(card_id)) == wrong_format("cardId")


@pytest.mark.parametrize(("name", "value"), [("x-correlation-id", "a b"), ("x-user-id", "x" * 16)])
async def test_a_header_has_its_form(caller: Caller, name: str, value: str) -> None:
    assert outcome(await caller.call("PUT", "/card-1", {}, **{name: value})) == wrong_format(name)


async def test_headers_in_order_are_taken(caller: Caller) -> None:
    await caller.register("card-1")
    headers = {"x-correlation-id": "a_1-B", "x-user-id": "operator-1"}

    assert (await caller.call("POST", "/card-1/operations:renew", {}, **headers)).status == 204


@pytest.mark.parametrize(("issuer_id", "status"), [("SOMEBODY01", 404), ("SHORT", 400), ("SANDBOX0011", 400)])
async def test_an_issuer_is_the_one_that_d1_knows(caller: Caller, issuer_id: str, status: int) -> None:
    path = f"/banking/v2/issuers/{issuer_id}/cards/card-1"

    assert (await caller.send("PUT", path, json={}, headers=caller.headers())).status == status


@pytest.mark.parametrize("body", ["{", "[]", '"x"', "null", "NaN"])
async def test_what_is_no_json_object_gets_a_400_without_details(caller: Caller, body: str) -> None:
    response = await caller.send_raw("PUT", "/card-1", body, "application/json")

    assert (response.status, response.text) == (400, "")


async def test_a_body_that_is_not_json_gets_a_400_without_details(caller: Caller) -> None:
    response = await caller.send_raw("PUT", "/card-1", json.dumps({"consumerId": "x"}), "text/plain")

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
        ("exp", {"pan": PAN}),
        ("exp", {"pan": PAN, "exp": "2812"}),
        ("exp", {"pan": PAN, "exp": "0028"}),
        ("exp", {"pan": PAN, "exp": "12/28"}),
        ("exp", {"pan": PAN, "exp": 1228}),
    ],
)
async def test_card_data_is_10_to_19_digits_and_a_month_before_a_year(
    caller: Caller, field: str, card: dict[str, object]
) -> None:
    encrypted = caller.encrypted(plaintext=json.dumps(card))

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_format(field)


@pytest.mark.parametrize("pan", ["4" * 10, "4" * 19])
async def test_the_shortest_and_the_longest_pan_are_taken(caller: Caller, pan: str) -> None:
    assert (await caller.register("card-1", pan=pan)).status == 204


@pytest.mark.parametrize("header", [{"alg": "ECDH-ES+A256KW"}, {"enc": "A128GCM"}, {"enc": "A256CBC-HS512"}])
async def test_card_data_of_another_algorithm_is_refused(caller: Caller, header: dict[str, str]) -> None:
    encrypted = caller.encrypted(**header)

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_format("encryptedData")


async def test_card_data_for_another_curve_is_refused(caller: Caller) -> None:
    encrypted = caller.encrypted(key=jwk.JWK.generate(kty="EC", crv="P-384"))

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_format("encryptedData")


@pytest.mark.parametrize("key_id", ["unknown", None, ["list"]])
async def test_card_data_for_an_unknown_key_is_refused(caller: Caller, key_id: object) -> None:
    encrypted = caller.encrypted(kid=key_id)

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_value("encryptedData")


async def test_card_data_for_another_key_under_d1s_kid_is_refused(caller: Caller) -> None:
    encrypted = caller.encrypted(key=jwk.JWK.generate(kty="EC", crv="P-256"))

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_value("encryptedData")


async def test_card_data_with_an_encrypted_key_is_refused(caller: Caller) -> None:
    header, _, *rest = caller.encrypted().split(".")

    encrypted = ".".join([header, "AAAA", *rest])

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_format("encryptedData")


async def test_changed_card_data_is_refused(caller: Caller) -> None:
    header, key, vector, ciphertext, tag = caller.encrypted().split(".")
    changed = ("B" if ciphertext[0] == "A" else "A") + ciphertext[1:]

    encrypted = f"{header}.{key}.{vector}.{changed}.{tag}"

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_value("encryptedData")


@pytest.mark.parametrize("plaintext", ["x", "[]", '"4000001234567899"'])
async def test_card_data_is_a_json_object(caller: Caller, plaintext: str) -> None:
    encrypted = caller.encrypted(plaintext=plaintext)

    assert outcome(await caller.register("card-1", encryptedData=encrypted)) == wrong_value("encryptedData")
