from typing import Any

import pytest

from sandbox.d1.model.contract import CardState, ResumeReason, SuspendReason
from tests.integration.sandbox.sandbox_caller import OTHER_PAN, PAN, Caller

LIFTED_BY = {
    SuspendReason.CARD_LOST: ResumeReason.CARD_FOUND,
    SuspendReason.USER_DECISION: ResumeReason.USER_DECISION,
    SuspendReason.ISSUER_DECISION: ResumeReason.ISSUER_DECISION,
}


async def bring_to(caller: Caller, state: str) -> None:
    """Create card-1 and bring it into a state; a replaced one is followed by card-2."""
    responses = [await caller.register("card-1", state="INACTIVE" if state == "INACTIVE" else "ACTIVE")]
    if state == "SUSPENDED":
        responses.append(await caller.operate("suspend", "card-1", reasonCode="CARD_LOST"))
    if state == "DELETED":
        responses.append(await caller.operate("delete", "card-1", reasonCode="CLOSED_CARD"))
    if state == "REPLACED":
        responses.append(await caller.operate("replace", "card-1", reasonCode="FRAUD", newCardId="card-2"))
    assert {response.status for response in responses} == {204}
    assert caller.state("card-1") == state


@pytest.mark.parametrize(
    ("verb", "body", "becomes"),
    [
        ("renew", {}, {"ACTIVE": "ACTIVE", "INACTIVE": "INACTIVE", "SUSPENDED": "SUSPENDED"}),
        ("replace", {"reasonCode": "CARD_LOST"}, {"ACTIVE": "ACTIVE", "INACTIVE": "ACTIVE", "SUSPENDED": "ACTIVE"}),
        (
            "replace",
            {"reasonCode": "CARD_LOST", "newCardId": "card-3"},
            {"ACTIVE": "REPLACED", "INACTIVE": "REPLACED", "SUSPENDED": "REPLACED"},
        ),
        (
            "delete",
            {"reasonCode": "CLOSED_CARD"},
            {"ACTIVE": "DELETED", "INACTIVE": "DELETED", "SUSPENDED": "DELETED"},
        ),
        ("suspend", {"reasonCode": "CARD_LOST"}, {"ACTIVE": "SUSPENDED"}),
        ("resume", {"reasonCode": "CARD_FOUND"}, {"SUSPENDED": "ACTIVE"}),
    ],
)
@pytest.mark.parametrize("state", [state.value for state in CardState])
async def test_a_step_of_a_cards_life_is_allowed_in_some_states_and_refused_in_the_others(
    caller: Caller, state: str, verb: str, body: dict[str, Any], becomes: dict[str, str]
) -> None:
    await bring_to(caller, state)

    response = await caller.operate(verb, "card-1", **body)

    if state in becomes:
        assert (response.status, response.text) == (204, "")
        assert caller.state("card-1") == becomes[state]
    else:
        assert response.status == 403
        assert response.json.keys() == {"errorCode", "error"}
        assert caller.state("card-1") == state


@pytest.mark.parametrize("resumed", list(ResumeReason))
@pytest.mark.parametrize("suspended", list(SuspendReason))
async def test_a_suspension_is_lifted_by_its_own_reason_only(
    caller: Caller, suspended: SuspendReason, resumed: ResumeReason
) -> None:
    await caller.register("card-1")
    await caller.operate("suspend", "card-1", reasonCode=suspended)

    response = await caller.operate("resume", "card-1", reasonCode=resumed)

    lifted = LIFTED_BY.get(suspended) is resumed
    assert response.status == (204 if lifted else 403)
    assert caller.state("card-1") == ("ACTIVE" if lifted else "SUSPENDED")


async def test_a_card_can_be_suspended_again_after_it_was_resumed(caller: Caller) -> None:
    await bring_to(caller, "SUSPENDED")
    await caller.operate("resume", "card-1", reasonCode="CARD_FOUND")

    assert (await caller.operate("suspend", "card-1", reasonCode="FRAUD")).status == 204
    assert (await caller.operate("resume", "card-1", reasonCode="CARD_FOUND")).status == 403


@pytest.mark.parametrize("verb", ["renew", "replace", "delete", "suspend"])
async def test_an_operation_on_an_unknown_card_gets_a_404(caller: Caller, verb: str) -> None:
    response = await caller.operate(verb, "card-1", reasonCode="CARD_LOST")

    assert response.status == 404
    assert response.json == {"errorCode": "NOT_FOUND", "error": "Card does not exist"}


async def test_a_renewed_card_has_its_new_expiry(caller: Caller) -> None:
    await caller.register("card-1", exp="1228")

    response = await caller.operate("renew", "card-1", encryptedData=caller.encrypted(PAN, "0131"))

    card = caller.sandbox.store.card("card-1")
    assert response.status == 204
    assert card.details.credentials is not None
    assert card.details.credentials.expiry == "0131"
    assert not card.awaits_credentials


async def test_a_renewal_keeps_the_pan(caller: Caller) -> None:
    await caller.register("card-1")

    response = await caller.operate("renew", "card-1", encryptedData=caller.encrypted(OTHER_PAN))

    assert (response.status, response.json) == (400, {"errorCode": "FIELD_INVALID_VALUE", "error": "encryptedData"})


async def test_a_renewal_may_change_the_id(caller: Caller) -> None:
    await bring_to(caller, "SUSPENDED")

    response = await caller.operate("renew", "card-1", newCardId="card-2")

    assert response.status == 204
    assert caller.state("card-2") == "SUSPENDED"
    assert (await caller.operate("delete", "card-1", reasonCode="CLOSED_CARD")).status == 404
    assert (await caller.operate("resume", "card-2", reasonCode="CARD_FOUND")).status == 204


@pytest.mark.parametrize("verb", ["renew", "replace"])
async def test_a_cards_new_id_may_not_be_in_use(caller: Caller, verb: str) -> None:
    await caller.register("card-1")
    await caller.register("card-2", pan=OTHER_PAN)

    response = await caller.operate(verb, "card-1", reasonCode="CARD_LOST", newCardId="card-2")

    assert response.status == 409
    assert caller.state("card-1") == "ACTIVE"


async def test_a_replacement_is_active_under_its_new_id_with_its_new_pan(caller: Caller) -> None:
    await bring_to(caller, "SUSPENDED")
    body = {"reasonCode": "CARD_STOLEN", "newCardId": "card-2", "encryptedData": caller.encrypted(OTHER_PAN)}

    response = await caller.operate("replace", "card-1", **body)

    new = caller.sandbox.store.card("card-2")
    assert response.status == 204
    assert caller.state("card-1") == "REPLACED"
    assert new.state is CardState.ACTIVE
    assert new.details.credentials is not None
    assert new.details.credentials.pan == OTHER_PAN


async def test_a_replacement_may_keep_the_id(caller: Caller) -> None:
    await bring_to(caller, "SUSPENDED")

    response = await caller.operate(
        "replace", "card-1", reasonCode="CARD_STOLEN", encryptedData=caller.encrypted(OTHER_PAN)
    )

    card = caller.sandbox.store.card("card-1")
    assert response.status == 204
    assert card.state is CardState.ACTIVE
    assert card.suspended_for is None
    assert card.details.credentials is not None
    assert card.details.credentials.pan == OTHER_PAN


@pytest.mark.parametrize("card_id", ["card-1", "card-2"])
async def test_a_replacement_has_another_pan_that_is_not_in_use(caller: Caller, card_id: str) -> None:
    await caller.register("card-1")
    await caller.register("card-2", pan=OTHER_PAN)
    known = {"card-1": PAN, "card-2": OTHER_PAN}[card_id]

    response = await caller.operate("replace", "card-1", reasonCode="FRAUD", encryptedData=caller.encrypted(known))

    assert response.status == 409
    assert caller.state("card-1") == "ACTIVE"


@pytest.mark.parametrize("verb", ["renew", "replace"])
async def test_a_card_renewed_or_replaced_without_card_data_waits_for_it(caller: Caller, verb: str) -> None:
    await caller.register("card-1")

    await caller.operate(verb, "card-1", reasonCode="CARD_LOST")
    waited = caller.sandbox.store.card("card-1").awaits_credentials
    pan = PAN if verb == "renew" else OTHER_PAN
    response = await caller.operate("renew", "card-1", encryptedData=caller.encrypted(pan, "0131"))

    assert waited
    assert response.status == 204
    assert not caller.sandbox.store.card("card-1").awaits_credentials


async def test_a_card_that_waits_for_card_data_takes_no_pan_used_before(caller: Caller) -> None:
    await caller.register("card-1")
    await caller.operate("replace", "card-1", reasonCode="CARD_LOST")

    response = await caller.operate("renew", "card-1", encryptedData=caller.encrypted(PAN))

    assert response.status == 409
    assert caller.sandbox.store.card("card-1").awaits_credentials


async def test_a_card_is_resumed_once(caller: Caller) -> None:
    await bring_to(caller, "SUSPENDED")

    statuses = [(await caller.operate("resume", "card-1", reasonCode="CARD_FOUND")).status for _ in range(2)]

    assert statuses == [204, 403]


async def test_a_renewal_needs_no_body(caller: Caller) -> None:
    await caller.register("card-1")

    assert (await caller.call("POST", "/card-1/operations:renew")).status == 204


@pytest.mark.parametrize("spelling", ["operations/delete", "operations-delete", "operations:Delete"])
async def test_an_operation_is_spelt_with_a_colon(caller: Caller, spelling: str) -> None:
    await caller.register("card-1")

    assert (await caller.call("POST", f"/card-1/{spelling}", {"reasonCode": "CLOSED_CARD"})).status == 404
    assert (await caller.call("GET", "/card-1/operations:delete")).status == 405
    assert caller.state("card-1") == "ACTIVE"
