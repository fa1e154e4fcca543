"""The lifetimes of transactions, by a clock that only the test advances."""

from typing import Any

import pytest

from sandbox.threeds.validation import Scene, problems
from tests.integration.sandbox_threeds.threeds_sandbox_areq import BROWSER, REQUESTOR, make_areq
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller, pan_of

NOT_YET = ("305", "No RReq has been received")
UNKNOWN = ("203", "Unknown threeDSServerTransID")


def decoupled(minutes: int) -> dict[str, str]:
    return {"threeDSRequestorDecReqInd": "Y", "threeDSRequestorDecMaxTime": f"{minutes:05}"}


async def error_page(caller: ThreeDSCaller, trans_id: str) -> tuple[str, str]:
    """Return why /postauth has no RReq."""
    erro = await caller.postauth(trans_id)
    assert problems(erro, "Erro", Scene("2.1.0")) == []
    assert erro["threeDSServerTransID"] == trans_id
    return erro["errorCode"], erro["errorDetail"]


@pytest.mark.parametrize(("seconds", "message"), [(79.9, "ARes"), (80.0, "Erro")])
async def test_a_lookup_is_good_for_80_seconds(caller: ThreeDSCaller, seconds: float, message: str) -> None:
    crd = await caller.preauth(pan_of("0003"))
    caller.clock.now += seconds
    response = await caller.auth("2.2.0", "0003", threeDSServerTransID=crd["threeDSServerTransID"])

    assert response["messageType"] == message
    assert response.get("errorCode", "301") == "301"


async def test_a_lookup_is_good_for_one_authentication(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0003")
    erro = await caller.auth("2.2.0", "0003", threeDSServerTransID=ares["threeDSServerTransID"])

    assert (erro["errorCode"], erro["errorDetail"]) == ("301", "threeDSServerTransID has been used")
    assert erro["threeDSServerTransID"] == ares["threeDSServerTransID"]


async def test_an_id_without_lookup_is_good_for_one_authentication(caller: ThreeDSCaller) -> None:
    trans_id = "8a880dc0-d2d2-4067-bcb1-b08d1690b26e"
    responses = [await caller.auth("2.2.0", "0003", REQUESTOR, threeDSServerTransID=trans_id) for _ in range(2)]

    assert [response["messageType"] for response in responses] == ["ARes", "Erro"]


async def test_a_refused_areq_leaves_the_lookup_for_another_one(caller: ThreeDSCaller) -> None:
    trans_id = (await caller.preauth(pan_of("0003")))["threeDSServerTransID"]
    refused = await caller.auth("2.2.0", "0003", threeDSServerTransID=trans_id, mcc="1")
    answered = await caller.auth("2.2.0", "0003", threeDSServerTransID=trans_id)

    assert (refused["messageType"], answered["messageType"]) == ("Erro", "ARes")


async def test_a_browser_needs_a_lookup(caller: ThreeDSCaller) -> None:
    erro = await caller.auth("2.2.0", "0003", BROWSER, threeDSServerTransID="8a880dc0-d2d2-4067-bcb1-b08d1690b26e")

    assert erro["errorCode"] == "301"


async def test_a_lookup_is_good_for_its_card_only(caller: ThreeDSCaller) -> None:
    trans_id = (await caller.preauth(pan_of("0013")))["threeDSServerTransID"]
    erro = await caller.call("/auth", make_areq("2.2.0", pan_of("0003"), threeDSServerTransID=trans_id))

    assert (erro["errorCode"], "acctNumber" in erro["errorDetail"]) == ("305", True)


async def test_a_challenge_begins_within_30_seconds(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")
    caller.clock.now += 29.9

    assert (await caller.begin_challenge(ares)).submits_itself


async def test_a_challenge_that_does_not_begin_in_time_has_failed(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")
    caller.clock.now += 30
    page = await caller.begin_challenge(ares)
    rreq = await caller.postauth(ares["threeDSServerTransID"])

    assert (page.status, "402" in page.text) == (400, True)
    assert problems(rreq, "RReq", Scene("2.2.0")) == []
    assert (rreq["transStatus"], rreq["transStatusReason"], rreq["challengeCancel"]) == ("N", "14", "05")


@pytest.mark.parametrize(("seconds", "status"), [(599.9, "Y"), (600.0, "N")])
async def test_a_cardholder_has_10_minutes(caller: ThreeDSCaller, seconds: float, status: str) -> None:
    ares = await caller.auth("2.2.0", "0072")
    question = await caller.begin_challenge(ares)
    caller.clock.now += seconds
    page = await caller.browser.press(question.form, "pass")
    rreq = await caller.postauth(ares["threeDSServerTransID"])

    assert page.submits_itself is (status == "Y")
    assert (rreq["transStatus"], rreq.get("challengeCancel")) == (status, None if status == "Y" else "04")


async def test_a_result_is_given_out_for_300_seconds(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")
    await caller.begin_challenge(ares)
    first = await caller.postauth(ares["threeDSServerTransID"])
    caller.clock.now += 299.9

    assert await caller.postauth(ares["threeDSServerTransID"]) == first
    caller.clock.now += 0.1
    assert await error_page(caller, ares["threeDSServerTransID"]) == UNKNOWN


async def test_a_result_that_came_by_itself_lasts_from_when_it_came(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")
    caller.clock.now += 30 + 300

    assert await error_page(caller, ares["threeDSServerTransID"]) == UNKNOWN


@pytest.mark.parametrize(("ending", "status"), [("0080", "Y"), ("0081", "N")])
@pytest.mark.parametrize("version", ["2.2.0", "2.3.1"])
async def test_a_decoupled_result_comes_later_and_lasts_20_minutes(
    caller: ThreeDSCaller, version: str, ending: str, status: str
) -> None:
    ares = await caller.auth(version, ending, **decoupled(5))
    trans_id = ares["threeDSServerTransID"]
    caller.clock.now += 89.9
    assert await error_page(caller, trans_id) == NOT_YET
    caller.clock.now += 0.1
    rreq = await caller.postauth(trans_id)
    assert problems(rreq, "RReq", Scene(version)) == []
    assert (rreq["transStatus"], rreq["acsTransID"]) == (status, ares["acsTransID"])
    caller.clock.now += 1199.9
    assert await caller.postauth(trans_id) == rreq
    caller.clock.now += 0.1
    assert await error_page(caller, trans_id) == UNKNOWN


@pytest.mark.parametrize("ending", ["0080", "0082"])
async def test_a_decoupled_authentication_ends_when_its_time_is_up(caller: ThreeDSCaller, ending: str) -> None:
    trans_id = (await caller.auth("2.2.0", ending, **decoupled(1)))["threeDSServerTransID"]
    caller.clock.now += 59.9
    assert await error_page(caller, trans_id) == NOT_YET
    caller.clock.now += 0.1
    rreq = await caller.postauth(trans_id)

    assert problems(rreq, "RReq", Scene("2.2.0")) == []
    assert (rreq["transStatus"], rreq["transStatusReason"]) == ("U", "24")


@pytest.mark.parametrize("ending", ["0003", "0063"])
async def test_a_transaction_without_challenge_never_has_a_result(caller: ThreeDSCaller, ending: str) -> None:
    trans_id = (await caller.auth("2.2.0", ending))["threeDSServerTransID"]

    assert await error_page(caller, trans_id) == NOT_YET
    caller.clock.now += 300
    assert await error_page(caller, trans_id) == UNKNOWN


async def test_a_lookup_alone_has_no_result(caller: ThreeDSCaller) -> None:
    trans_id = (await caller.preauth(pan_of("0070")))["threeDSServerTransID"]

    assert await error_page(caller, trans_id) == NOT_YET
    caller.clock.now += 80
    assert await error_page(caller, trans_id) == UNKNOWN


async def test_what_has_expired_takes_no_space(caller: ThreeDSCaller) -> None:
    store: Any = caller.sandbox.transactions
    for ending in ("0003", "0070", "0072", "0080"):
        await caller.auth("2.2.0", ending, **decoupled(1))
        await caller.preauth(pan_of(ending))
    assert len(store.all()) == 8
    caller.clock.now += 24 * 3600

    assert (store.all(), store._agenda, store._transactions) == ((), [], {})
