"""D1's consumers: personal data, authenticators, and what becomes of them on deletion."""

from typing import Any

import pytest

from sandbox.d1.model.errors import D1Error
from tests.integration.sandbox.sandbox_caller import Caller, Response
from tests.integration.sandbox.sandbox_edge import INFORMATION, Edge, Reply, until

WHOLE = INFORMATION | {
    "middleName": "O'Neil-Smith_2",
    "lastName": "Ångström, Jr.",
    "title": "Prof. Dr.",
    "dateOfBirth": "1990-01-25",
    "email": "someone@example.com",
    "residencyAddress": {
        "line1": "1 Rainbow Street",
        "line2": "2nd floor",
        "city": "Amman",
        "state": "Amman",
        "zipCode": "11181",
        "countryCode": "JO",
    },
}
REGISTER = "v2/issuers/{issuer}/consumers/{consumer}"
DELETE = "v1/issuers/{issuer}/consumers/{consumer}/operations:delete"


async def delete_authenticator(caller: Caller, body: Any = None) -> Response:
    path = f"v1/issuers/{{issuer}}/appinstances/{caller.name}/authncredentials/operations:delete"
    return await caller.call("POST", path, body)


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
        ("language", {"language": "en"}),
        ("language", {"language": None}),
        ("firstName", {"firstName": ""}),
        ("firstName", {"firstName": "a" * 129}),
        ("middleName", {"middleName": "a@b"}),
        ("lastName", {"lastName": 1}),
        ("title", {"title": "a" * 41}),
        ("dateOfBirth", {"dateOfBirth": "1990-13-01"}),
        ("dateOfBirth", {"dateOfBirth": "25/01/1990"}),
        ("email", {"email": "nobody"}),
        ("mobilePhoneNumber", {"mobilePhoneNumber": "+962790000000"}),
        ("countryCode", {"mobilePhoneNumber": {"countryCode": "962", "phoneNumber": "790000000"}}),
        ("phoneNumber", {"mobilePhoneNumber": {"countryCode": "+962", "phoneNumber": "79 000"}}),
        ("mobilePhoneNumber.phoneNumber", {"mobilePhoneNumber": {"countryCode": "+962"}}),
        ("residencyAddress", {"residencyAddress": []}),
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


@pytest.mark.parametrize("body", [None, {"reason": "No longer a customer", "reasonCode": "USER_DECISION"}])
async def test_deleting_a_consumer_deletes_its_cards_and_authenticators_alone(caller: Caller, body: Any) -> None:
    other = f"{caller.consumer_id}-2"
    await caller.register()
    await caller.register("{card}-2", pan=caller.other_pan, consumerId=other)
    for consumer_id in (caller.consumer_id, other):
        caller.sandbox.authenticators.enrol(consumer_id, f"app-of-{consumer_id}")

    deleted = [await caller.call("POST", DELETE, each) for each in (body, None)]

    assert [response.status for response in deleted] == [204, 404]
    assert deleted[1].json == {"error": "Consumer does not exist"}
    assert [caller.state(), caller.state(f"{caller.card_id}-2")] == ["DELETED", "ACTIVE"]
    assert not caller.sandbox.authenticators.has_any(caller.consumer_id)
    assert caller.sandbox.authenticators.has_any(other)


@pytest.mark.parametrize(
    ("body", "error"),
    [({"reason": "with-a-sign"}, "reason"), ({"reasonCode": "FRAUD"}, "reasonCode"), ([], "Bad Request")],
)
async def test_a_wrong_reason_is_refused_in_the_shape_of_version_1(caller: Caller, body: Any, error: str) -> None:
    caller.sandbox.store.add_consumer(caller.consumer_id)
    caller.sandbox.authenticators.enrol(caller.consumer_id, caller.name)

    for response in (await caller.call("POST", DELETE, body), await delete_authenticator(caller, body)):
        assert (response.status, response.json) == (400, {"error": error})
    assert caller.sandbox.authenticators.has_any(caller.consumer_id)


async def test_enrolling_and_deleting_an_authenticator_is_notified_until_the_edge_takes_it(
    caller: Caller, edge: Edge
) -> None:
    edge.replies["notification"] = [Reply(500), Reply(404), Reply(204)]
    caller.sandbox.store.add_consumer(caller.consumer_id)
    caller.sandbox.authenticators.enrol(caller.consumer_id, caller.name)
    with pytest.raises(D1Error, match="403"):
        caller.sandbox.authenticators.enrol(caller.consumer_id, caller.name)
    await until(lambda: len(edge.notifications) == 3)

    deleted = [await delete_authenticator(caller, {"reasonCode": "ISSUER_DECISION"}) for _ in range(2)]
    await until(lambda: len(edge.notifications) == 4)

    assert [response.status for response in deleted] == [204, 404]
    assert deleted[1].json == {"error": "Application instance does not exist"}
    assert edge.notifications[0].path.endswith(f"/issuers/SANDBOX001/consumers/{caller.consumer_id}/notifications")
    enrolled, *repeated, removed = [call.body for call in edge.notifications]
    assert repeated == [enrolled, enrolled]
    assert enrolled["operationId"].startswith("op_")
    assert enrolled | {"operationId": ""} == {
        "operationId": "",
        "operation": "ENROLL_AUTHN",
        "status": "SUCCESSFUL",
        "startTime": "2027-01-15T08:00:00.000Z",
        "details": {"appInstanceId": caller.name},
    }
    assert (removed["operation"], removed["details"]) == ("DELETE_AUTHN", enrolled["details"])
