"""The life of D1's cards: which step is allowed when, and which ids may be used again.

What a gateway makes of it is in tests/contract/test_contract_cards.py and test_contract_card_errors.py, with which id
or card number is in use.
"""

from typing import Any

import pytest

from sandbox.d1.model.contract import CardState, ResumeReason, SuspendReason
from tests.integration.sandbox.sandbox_caller import Caller


async def bring_to(caller: Caller, state: str) -> None:
    """Bring the caller's card, which is active, into a state."""
    match state:
        case "SUSPENDED":
            await caller.operate("suspend", reasonCode="CARD_LOST")
        case "DELETED":
            await caller.operate("delete", reasonCode="CLOSED_CARD")
        case "REPLACED":
            await caller.operate("replace", reasonCode="FRAUD", newCardId=f"{caller.card_id}-2")


@pytest.mark.parametrize(
    ("verb", "body", "becomes"),
    [
        ("renew", {}, {"ACTIVE": "ACTIVE", "INACTIVE": "INACTIVE", "SUSPENDED": "SUSPENDED"}),
        ("replace", {"reasonCode": "CARD_LOST"}, dict.fromkeys(("ACTIVE", "INACTIVE", "SUSPENDED"), "ACTIVE")),
        ("delete", {"reasonCode": "CLOSED_CARD"}, dict.fromkeys(("ACTIVE", "INACTIVE", "SUSPENDED"), "DELETED")),
        ("suspend", {"reasonCode": "CARD_LOST"}, {"ACTIVE": "SUSPENDED"}),
        ("resume", {"reasonCode": "CARD_FOUND"}, {"SUSPENDED": "ACTIVE"}),
    ],
)
@pytest.mark.parametrize("state", [state.value for state in CardState])
async def test_a_step_is_allowed_in_some_states_and_refused_in_the_others(
    caller: Caller, state: str, verb: str, body: dict[str, Any], becomes: dict[str, str]
) -> None:
    await caller.register(state="INACTIVE" if state == "INACTIVE" else "ACTIVE")
    await bring_to(caller, state)
    assert caller.state() == state

    response = await caller.operate(verb, **body)

    assert caller.state() == becomes.get(state, state)
    if state in becomes:
        assert (response.status, response.text) == (204, "")
    else:
        assert (response.status, response.json.keys()) == (403, {"errorCode", "error"})


@pytest.mark.parametrize("suspended", list(SuspendReason))
async def test_a_suspension_is_lifted_by_some_reasons_only(caller: Caller, suspended: SuspendReason) -> None:
    await caller.register()
    await caller.operate("suspend", reasonCode=suspended)

    lifting = {
        "CARD_LOST": {"CARD_FOUND"},
        "USER_DECISION": {"USER_DECISION", "ISSUER_DECISION"},
        "ISSUER_DECISION": {"ISSUER_DECISION"},
    }.get(suspended, set())
    for resumed in sorted(ResumeReason, key=lambda reason: reason in lifting):
        lifted = resumed in lifting
        assert (await caller.operate("resume", reasonCode=resumed)).status == (204 if lifted else 403)
        assert caller.state() == ("ACTIVE" if lifted else "SUSPENDED")
        if lifted:
            await caller.operate("suspend", reasonCode=suspended)


async def test_registering_the_same_again_moves_the_card_at_most_to_another_consumer(caller: Caller) -> None:
    await caller.register(nameOnCard="A HOLDER")
    await caller.operate("suspend", reasonCode="USER_DECISION")

    for consumer_id in (caller.consumer_id, "another"):
        assert (await caller.register(nameOnCard="A HOLDER", consumerId=consumer_id)).status == 204
        card = caller.sandbox.store.card(caller.card_id)
        assert (card.state, card.details.consumer_id) == ("SUSPENDED", consumer_id)


async def test_a_live_card_is_not_registered_again_with_other_data_or_under_another_id(caller: Caller) -> None:
    await caller.register()
    changes = ({"pan": caller.other_pan}, {"exp": "0131"}, {"state": "INACTIVE"}, {"nameOnCard": "A B"})

    refused = [await caller.register(**change) for change in changes]
    refused.append(await caller.register("{card}-2"))

    assert [(response.status, *sorted(response.json)) for response in refused] == [(409, "error", "errorCode")] * 5
    assert (await caller.register("{card}-2", pan=caller.other_pan)).status == 204, "no refused PAN counts as used"


@pytest.mark.parametrize("state", ["DELETED", "REPLACED"])
@pytest.mark.parametrize(("product", "status"), [("light", 204), ("light-transacting", 409)])
async def test_the_id_of_an_ended_card_is_used_again_for_another_pan_unless_its_product_transacts(
    caller: Caller, state: str, product: str, status: int
) -> None:
    await caller.register(cardProductId=product)
    await bring_to(caller, state)

    assert [(await caller.register(card_id)).status for card_id in ("{card}", "{card}-3")] == [409, 409]
    assert (await caller.register(pan=caller.other_pan)).status == status
    assert caller.state() == ("ACTIVE" if status == 204 else state)


async def test_the_id_of_a_created_card_is_never_registered(caller: Caller) -> None:
    await caller.control("POST", "consumers", {"consumerId": caller.consumer_id})
    card_id = (await caller.create()).json["cardId"]

    live = await caller.register(card_id)
    await caller.operate("delete", card_id, reasonCode="CLOSED_CARD")

    assert [live.status, (await caller.register(card_id)).status] == [409, 409]


async def test_a_refused_registration_leaves_its_consumer_unknown(caller: Caller) -> None:
    assert (await caller.register(cardProductId="full")).status == 403
    assert (await caller.create()).status == 404


async def test_a_card_is_not_replaced_by_one_with_its_own_pan(caller: Caller) -> None:
    await caller.register()
    assert (await caller.operate("replace", reasonCode="FRAUD", encryptedData=caller.encrypted())).status == 409
