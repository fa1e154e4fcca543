import re

import pytest

from tests.integration.sandbox.sandbox_caller import OTHER_PAN, PAN, Caller


async def test_a_created_card_gets_an_id_of_d1s_own(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")

    response = await caller.create()

    assert response.status == 201
    assert response.json.keys() == {"cardId"}
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,48}", response.json["cardId"])
    assert caller.state(response.json["cardId"]) == "ACTIVE"


async def test_creating_again_makes_another_card(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")

    first, second = await caller.create(), await caller.create(state="INACTIVE")

    assert first.json["cardId"] != second.json["cardId"]
    assert caller.state(second.json["cardId"]) == "INACTIVE"


async def test_a_card_is_not_created_for_an_unknown_consumer(caller: Caller) -> None:
    response = await caller.create()

    assert response.status == 404
    assert response.json == {"errorCode": "NOT_FOUND", "error": "Consumer does not exist"}


async def test_a_registration_makes_its_consumer_known(caller: Caller) -> None:
    await caller.register("card-1")

    assert (await caller.create()).status == 201


async def test_a_refused_registration_leaves_its_consumer_unknown(caller: Caller) -> None:
    await caller.register("card-1", cardProductId="full")

    assert (await caller.create()).status == 404


async def test_a_card_of_an_unknown_product_is_refused(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")

    for response in (await caller.register("card-1", cardProductId="none"), await caller.create(cardProductId="none")):
        assert (response.status, response.json) == (400, {"errorCode": "FIELD_INVALID_VALUE", "error": "cardProductId"})


async def test_a_product_with_full_authorisation_has_created_cards_only(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")

    assert (await caller.register("card-1", cardProductId="full")).status == 403
    assert (await caller.create(cardProductId="full")).status == 201


@pytest.mark.parametrize(("sent", "stands"), [({}, "ACTIVE"), ({"state": "INACTIVE"}, "INACTIVE")])
async def test_a_registered_card_is_active_unless_said_otherwise(
    caller: Caller, sent: dict[str, str], stands: str
) -> None:
    response = await caller.register("card-1", **sent)

    assert (response.status, response.text) == (204, "")
    assert caller.state("card-1") == stands


async def test_registering_the_same_again_changes_nothing(caller: Caller) -> None:
    await caller.register("card-1", nameOnCard="A HOLDER")
    await caller.operate("suspend", "card-1", reasonCode="USER_DECISION")

    response = await caller.register("card-1", nameOnCard="A HOLDER")

    assert response.status == 204
    assert caller.state("card-1") == "SUSPENDED"
    assert len(caller.sandbox.store.cards()) == 1


async def test_a_card_can_be_moved_to_another_consumer(caller: Caller) -> None:
    await caller.register("card-1")

    response = await caller.register("card-1", consumerId="consumer-2")

    assert response.status == 204
    assert caller.sandbox.store.card("card-1").details.consumer_id == "consumer-2"


@pytest.mark.parametrize("change", [{"pan": OTHER_PAN}, {"exp": "0131"}, {"state": "INACTIVE"}, {"nameOnCard": "A B"}])
async def test_the_id_of_a_live_card_is_not_taken_for_other_data(caller: Caller, change: dict[str, str]) -> None:
    await caller.register("card-1")

    response = await caller.register("card-1", **change)

    assert response.status == 409
    assert response.json.keys() == {"errorCode", "error"}


async def test_a_pan_in_use_is_not_registered_under_another_id(caller: Caller) -> None:
    await caller.register("card-1")

    assert (await caller.register("card-2")).status == 409


@pytest.mark.parametrize(("verb", "reason"), [("delete", "CLOSED_CARD"), ("replace", "CARD_LOST")])
@pytest.mark.parametrize("card_id", ["card-1", "card-9"])
async def test_a_pan_once_deleted_or_replaced_is_never_registered_again(
    caller: Caller, verb: str, reason: str, card_id: str
) -> None:
    await caller.register("card-1")
    await caller.operate(verb, "card-1", reasonCode=reason, newCardId="card-2")

    assert (await caller.register(card_id)).status == 409


async def test_a_pan_replaced_under_the_same_id_is_never_registered_again(caller: Caller) -> None:
    await caller.register("card-1")
    await caller.operate("replace", "card-1", reasonCode="CARD_LOST", encryptedData=caller.encrypted(OTHER_PAN))

    assert (await caller.register("card-2")).status == 409


@pytest.mark.parametrize(("verb", "reason"), [("delete", "CLOSED_CARD"), ("replace", "CARD_LOST")])
async def test_the_id_of_a_deleted_or_replaced_card_is_used_again_for_another_pan(
    caller: Caller, verb: str, reason: str
) -> None:
    await caller.register("card-1")
    await caller.operate(verb, "card-1", reasonCode=reason, newCardId="card-2")

    response = await caller.register("card-1", pan=OTHER_PAN)

    assert response.status == 204
    assert caller.state("card-1") == "ACTIVE"


async def test_the_id_of_a_product_used_for_transactions_is_not_used_again(caller: Caller) -> None:
    await caller.register("card-1", cardProductId="light-transacting")
    await caller.operate("delete", "card-1", reasonCode="CLOSED_CARD")

    assert (await caller.register("card-1", pan=OTHER_PAN)).status == 409


async def test_the_id_of_a_created_card_is_not_used_again(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")
    card_id = (await caller.create()).json["cardId"]
    await caller.operate("delete", card_id, reasonCode="CLOSED_CARD")

    assert (await caller.register(card_id)).status == 409


async def test_the_id_of_a_live_created_card_is_not_registered(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")
    card_id = (await caller.create()).json["cardId"]

    assert (await caller.register(card_id)).status == 409


async def test_a_pan_is_free_as_long_as_its_registration_was_refused(caller: Caller) -> None:
    await caller.register("card-1", pan=OTHER_PAN)
    await caller.register("card-1", pan=PAN)

    assert (await caller.register("card-2", pan=PAN)).status == 204


async def test_a_pan_stays_in_memory(caller: Caller, capfd: pytest.CaptureFixture[str]) -> None:
    responses = [await caller.register("card-1"), await caller.register("card-2")]
    responses.append(await caller.operate("renew", "card-1", encryptedData=caller.encrypted(OTHER_PAN)))
    async with caller.session.get(f"{caller.sandbox.control_url}/sandbox/cards") as listed:
        shown = await listed.text()

    printed = "".join(capfd.readouterr())
    everything = "".join(
        [shown, printed, repr(caller.sandbox.store.cards()), *(response.text for response in responses)]
    )
    assert "card-1" in everything
    assert PAN not in everything
    assert OTHER_PAN not in everything
