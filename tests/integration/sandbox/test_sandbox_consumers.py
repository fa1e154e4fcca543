"""D1's consumers and history: the personal data that D1 keeps, and the calls that it refuses."""

import itertools
from typing import Any

import pytest

from sandbox.d1.model.errors import D1Error
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import INFORMATION

ADDRESS = {"line1": "1 Hill", "line2": "A", "city": "Amman", "state": "Amman", "zipCode": "11181", "countryCode": "JO"}
WHOLE = INFORMATION | {
    "middleName": "O'Neil-Smith_2",
    "lastName": "Ångström, Jr.",
    "title": "Prof. Dr.",
    "dateOfBirth": "1990-01-25",
    "email": "someone@example.com",
    "residencyAddress": ADDRESS,
}
REGISTER = "v2/issuers/{issuer}/consumers/{consumer}"
DELETE = "v1/issuers/{issuer}/consumers/{consumer}/operations:delete"
DELETE_AUTHENTICATOR = "v1/issuers/{issuer}/appinstances/{app}/authncredentials/operations:delete"


async def test_personal_data_are_kept_within_the_contract_until_the_next_registration(caller: Caller) -> None:
    registered = await caller.call("PUT", REGISTER, {"personalInformation": WHOLE | {"shoeSize": 42}})
    await caller.register()

    kept = caller.sandbox.store.personal_information(caller.consumer_id)
    assert registered.status == 204
    assert kept is not None
    assert kept.fields == WHOLE
    assert (kept.phone, kept.language) == ("+962790000000", "ar-JO")
    assert "790000000" not in repr(kept)
    assert (await caller.call("PUT", REGISTER)).status == 204
    assert caller.sandbox.store.personal_information(caller.consumer_id) is None


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        *(("language", {"language": language}) for language in ("en", None)),
        *(("firstName", {"firstName": name}) for name in ("", "a" * 129)),
        ("middleName", {"middleName": "a@b"}),
        ("lastName", {"lastName": 1}),
        ("title", {"title": "a" * 41}),
        *(("dateOfBirth", {"dateOfBirth": date}) for date in ("1990-13-01", "25/01/1990")),
        ("email", {"email": "nobody"}),
        ("mobilePhoneNumber", {"mobilePhoneNumber": "+962790000000"}),
        ("countryCode", {"mobilePhoneNumber": {"countryCode": "962", "phoneNumber": "790000000"}}),
        ("phoneNumber", {"mobilePhoneNumber": {"countryCode": "+962", "phoneNumber": "79 000"}}),
        ("mobilePhoneNumber.phoneNumber", {"mobilePhoneNumber": {"countryCode": "+962"}}),
        ("residencyAddress", {"residencyAddress": []}),
        ("residencyAddress", {"residencyAddress": {}}),
        ("city", {"residencyAddress": {"city": ""}}),
        ("firstName", {"firstName": "Zoe\u0308"}),
        ("city", {"residencyAddress": {"city": 1}}),
        ("countryCode", {"residencyAddress": {"countryCode": "Jordan"}}),
    ],
)
async def test_personal_data_that_break_the_contract_are_refused(
    caller: Caller, field: str, changes: dict[str, Any]
) -> None:
    response = await caller.call("PUT", REGISTER, {"personalInformation": WHOLE | changes})

    assert (response.status, response.json) == (400, {"errorCode": "FIELD_INVALID_FORMAT", "error": field})
    with pytest.raises(D1Error):
        caller.sandbox.store.personal_information(caller.consumer_id)


async def test_a_registration_that_breaks_the_contract_is_refused_in_the_shape_of_version_2(caller: Caller) -> None:
    assert (await caller.call("PUT", REGISTER, {"personalInformation": []})).json["error"] == "personalInformation"
    assert (await caller.call("PUT", REGISTER, [])).text == ""
    assert (await caller.call("PUT", REGISTER.replace("{consumer}", "a.b"))).json["error"] == "consumerId"
    assert (await caller.call("PUT", REGISTER, **{"x-user-id": "a" * 16})).json["error"] == "x-user-id"


async def test_a_wrong_reason_is_refused_in_the_shape_of_version_1(caller: Caller) -> None:
    caller.sandbox.store.add_consumer(caller.consumer_id)
    caller.sandbox.authenticators.enrol(caller.consumer_id, caller.name)
    wrong: tuple[tuple[Any, str], ...] = (
        ({"reason": "with-a-sign"}, "reason"),
        ({"reasonCode": "FRAUD"}, "reasonCode"),
        ([], "Bad Request"),
    )

    for (body, error), path in itertools.product(wrong, (DELETE, DELETE_AUTHENTICATOR)):
        response = await caller.call("POST", path.replace("{app}", caller.name), body)
        assert (response.status, response.json) == (400, {"error": error})
    assert caller.sandbox.authenticators.has_any(caller.consumer_id)


@pytest.mark.parametrize(
    ("path", "headers", "status", "error"),
    [
        *((f"?limit={limit}", {}, 400, "limit") for limit in ("0", "51", "x", "")),
        *((f"?offset={offset}", {}, 400, "offset") for offset in ("-1", "1.5", "²")),
        ("/op.1", {}, 400, "operationId"),
        ("", {"x-correlation-id": "a/b"}, 400, "x-correlation-id"),
        ("", {}, 404, "Card does not exist"),
        ("/op-1", {}, 404, "Card does not exist"),
    ],
)
async def test_a_wrong_call_for_the_history_is_refused_in_the_shape_of_version_1(
    caller: Caller, path: str, headers: dict[str, Any], status: int, error: str
) -> None:
    response = await caller.call("GET", f"v1/issuers/{{issuer}}/cards/{{card}}/3ds/operations{path}", **headers)

    assert (response.status, response.json) == (status, {"error": error})


async def test_the_history_of_a_card_is_its_issuers_and_of_known_operations(caller: Caller) -> None:
    await caller.register()
    history = "cards/{card}/3ds/operations"

    taken = await caller.call("GET", f"v1/issuers/{{issuer}}/{history}?limit=50", **{"x-correlation-id": "a b.c"})
    unknown = await caller.call("GET", f"v1/issuers/{{issuer}}/{history}/op-9")
    foreign = await caller.call("GET", f"v1/issuers/ISSUER0002/{history}")

    assert (taken.status, taken.json) == (200, {"operations": [], "remainingOperations": 0})
    assert (unknown.status, unknown.json) == (404, {"error": "Operation does not exist"})
    assert (foreign.status, foreign.json) == (404, {"error": "Issuer does not exist"})
