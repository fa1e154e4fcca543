import asyncio
from typing import Any

import pytest

from sandbox.d1.model.errors import D1Error
from tests.integration.sandbox.sandbox_caller import OTHER_PAN, Caller, Response
from tests.integration.sandbox.sandbox_edge import INFORMATION, Edge

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


async def register(caller: Caller, body: Any = None, consumer_id: str = "consumer-1", **headers: str) -> Response:
    return await caller.request("PUT", f"v2/issuers/{{issuer}}/consumers/{consumer_id}", body, **headers)


async def delete(caller: Caller, body: Any = None, consumer_id: str = "consumer-1", **headers: str) -> Response:
    return await caller.request(
        "POST", f"v1/issuers/{{issuer}}/consumers/{consumer_id}/operations:delete", body, **headers
    )


async def delete_authenticator(caller: Caller, app_instance_id: str, body: Any = None) -> Response:
    path = f"v1/issuers/{{issuer}}/appinstances/{app_instance_id}/authncredentials/operations:delete"
    return await caller.request("POST", path, body)


async def arrived(edge: Edge, count: int) -> list[dict[str, Any]]:
    """Return the notifications when there are that many."""
    while len(edge.received) < count:  # noqa: ASYNC110 - the edge sends no event
        await asyncio.sleep(0.01)
    return [received.body for received in edge.received]


async def test_a_consumer_is_registered_without_personal_data(caller: Caller) -> None:
    assert (await register(caller)).status == 204

    assert caller.sandbox.store.personal_information("consumer-1") is None
    assert (await caller.create()).status == 201


async def test_personal_data_are_kept_as_they_came_without_what_the_contract_does_not_name(caller: Caller) -> None:
    response = await register(caller, {"personalInformation": WHOLE | {"shoeSize": 42}})

    kept = caller.sandbox.store.personal_information("consumer-1")
    assert response.status == 204
    assert kept is not None
    assert kept.fields == WHOLE
    assert (kept.phone, kept.language) == ("+962790000000", "ar-JO")


async def test_a_further_registration_changes_what_is_kept(caller: Caller) -> None:
    await register(caller, {"personalInformation": WHOLE})
    await register(caller)

    assert caller.sandbox.store.personal_information("consumer-1") is None


async def test_a_card_of_a_registered_consumer_leaves_the_personal_data(caller: Caller) -> None:
    await register(caller, {"personalInformation": WHOLE})
    await caller.register("card-1")

    assert caller.sandbox.store.personal_information("consumer-1") is not None


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
    response = await register(caller, {"personalInformation": WHOLE | changes})

    assert (response.status, response.json) == (400, {"errorCode": "FIELD_INVALID_FORMAT", "error": field})
    with pytest.raises(D1Error):
        caller.sandbox.store.personal_information("consumer-1")


async def test_personal_data_are_not_shown_by_being_printed(caller: Caller) -> None:
    await register(caller, {"personalInformation": WHOLE})

    assert "790000000" not in repr(caller.sandbox.store.personal_information("consumer-1"))


async def test_a_registration_that_breaks_the_contract_is_refused_in_the_shape_of_version_2(caller: Caller) -> None:
    assert (await register(caller, {"personalInformation": []})).json["error"] == "personalInformation"
    assert (await register(caller, [])).text == ""
    assert (await register(caller, consumer_id="a.b")).json["error"] == "consumerId"
    assert (await register(caller, **{"x-user-id": "a" * 16})).json["error"] == "x-user-id"


@pytest.mark.parametrize("body", [None, {"reason": "No longer a customer", "reasonCode": "USER_DECISION"}])
async def test_deleting_a_consumer_deletes_its_cards_and_authenticators(caller: Caller, edge: Edge, body: Any) -> None:
    await caller.register("card-1")
    await caller.register("card-2", pan=OTHER_PAN, consumerId="consumer-2")
    caller.sandbox.authenticators.enrol("consumer-1", "app-1")
    caller.sandbox.authenticators.enrol("consumer-2", "app-2")
    await arrived(edge, 2)

    response = await delete(caller, body)

    assert response.status == 204
    assert [caller.state(card_id) for card_id in ("card-1", "card-2")] == ["DELETED", "ACTIVE"]
    assert caller.sandbox.authenticators.all() == {"app-2": "consumer-2"}
    again = await delete(caller)
    assert (again.status, again.json) == (404, {"error": "Consumer does not exist"})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"reason": "with-a-sign"}, "reason"),
        ({"reasonCode": "FRAUD"}, "reasonCode"),
        ([], "Bad Request"),
    ],
)
async def test_a_wrong_reason_is_refused_in_the_shape_of_version_1(caller: Caller, body: Any, error: str) -> None:
    caller.sandbox.store.add_consumer("consumer-1")
    caller.sandbox.authenticators.enrol("consumer-1", "app-1")

    for response in (await delete(caller, body), await delete_authenticator(caller, "app-1", body)):
        assert (response.status, response.json) == (400, {"error": error})
    assert caller.sandbox.authenticators.all() == {"app-1": "consumer-1"}


async def test_an_enrolment_is_notified_with_the_app_instance(caller: Caller, edge: Edge) -> None:
    caller.sandbox.store.add_consumer("consumer-1")

    app_instance_id = caller.sandbox.authenticators.enrol("consumer-1")

    (body,) = await arrived(edge, 1)
    assert edge.received[0].path == "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1/notifications"
    assert body.pop("operationId").startswith("op_")
    assert body == {
        "operation": "ENROLL_AUTHN",
        "status": "SUCCESSFUL",
        "startTime": "2027-01-15T08:00:00.000Z",
        "details": {"appInstanceId": app_instance_id},
    }


async def test_an_app_instance_has_one_authenticator(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")
    caller.sandbox.authenticators.enrol("consumer-1", "app-1")

    with pytest.raises(D1Error, match="403"):
        caller.sandbox.authenticators.enrol("consumer-1", "app-1")


async def test_an_authenticator_is_deleted_by_the_issuer_once_and_notified(caller: Caller, edge: Edge) -> None:
    caller.sandbox.store.add_consumer("consumer-1")
    caller.sandbox.authenticators.enrol("consumer-1", "app-1")
    await arrived(edge, 1)

    responses = [await delete_authenticator(caller, "app-1", {"reasonCode": "ISSUER_DECISION"}) for _ in range(2)]

    _, body = await arrived(edge, 2)
    assert [response.status for response in responses] == [204, 404]
    assert responses[1].json == {"error": "Application instance does not exist"}
    assert (body["operation"], body["details"]) == ("DELETE_AUTHN", {"appInstanceId": "app-1"})


async def test_a_consumer_notification_is_repeated_until_it_is_taken(caller: Caller, edge: Edge) -> None:
    edge.statuses = [500, 404]
    caller.sandbox.store.add_consumer("consumer-1")

    caller.sandbox.authenticators.enrol("consumer-1", "app-1")

    first, *others = await arrived(edge, 3)
    assert others == [first, first]
    assert caller.sandbox.background.errors == []


async def test_a_consumer_notification_that_is_never_taken_is_an_error_on_record(caller: Caller, edge: Edge) -> None:
    edge.statuses = [500] * 5
    caller.sandbox.store.add_consumer("consumer-1")

    caller.sandbox.authenticators.enrol("consumer-1", "app-1")
    while not caller.sandbox.background.errors:  # noqa: ASYNC110 - what is recorded has no event
        await asyncio.sleep(0.02)

    assert caller.sandbox.background.errors == ["ENROLL_AUTHN of app-1: The edge responded 500"]
    assert len(edge.received) == 5
