"""The lifetimes of transactions, by a clock that only the test advances."""

from typing import Any

import pytest

from tests.contract.areqs import pan_of
from tests.integration.sandbox_threeds.threeds_sandbox_caller import (
    REQUESTOR,
    UNKNOWN_ID,
    ThreeDSCaller,
    broken,
    decoupled,
    make_areq,
)

NOT_YET = ("305", "No RReq has been received")
UNKNOWN = ("203", "Unknown threeDSServerTransID")


async def why_not(caller: ThreeDSCaller, trans_id: str) -> tuple[str, str]:
    """Return why /postauth has no RReq."""
    erro = await caller.postauth(trans_id)
    assert broken(erro, "2.1.0") == []
    assert erro["threeDSServerTransID"] == trans_id
    return erro["errorCode"], erro["errorDetail"]


@pytest.mark.parametrize(("seconds", "message"), [(79.9, "ARes"), (80.0, "Erro")])
async def test_a_lookup_is_good_for_80_seconds(caller: ThreeDSCaller, seconds: float, message: str) -> None:
    crd = await caller.preauth("0003")
    assert await why_not(caller, crd["threeDSServerTransID"]) == NOT_YET
    caller.clock.now += seconds

    response = await caller.auth("2.2.0", "0003", threeDSServerTransID=crd["threeDSServerTransID"])

    assert response["messageType"] == message
    assert response.get("errorCode", "301") == "301"
    assert await why_not(caller, crd["threeDSServerTransID"]) == (NOT_YET if message == "ARes" else UNKNOWN)


async def test_a_lookup_is_good_for_one_authentication_and_its_card_only(caller: ThreeDSCaller) -> None:
    trans_id = (await caller.preauth("0003"))["threeDSServerTransID"]
    other = await caller.call("/auth", make_areq("2.2.0", pan_of("0013"), threeDSServerTransID=trans_id))
    wrong = await caller.auth("2.2.0", "0003", threeDSServerTransID=trans_id, mcc="1")
    answered, again = [await caller.auth("2.2.0", "0003", threeDSServerTransID=trans_id) for _ in range(2)]

    assert (other["errorCode"], "acctNumber" in other["errorDetail"]) == ("305", True)
    assert (wrong["messageType"], answered["messageType"]) == ("Erro", "ARes"), "a refused AReq leaves the lookup"
    assert (again["errorCode"], again["errorDetail"]) == ("301", "threeDSServerTransID has been used")


async def test_without_a_browser_any_new_id_is_good_for_one_authentication(caller: ThreeDSCaller) -> None:
    of_browser = await caller.auth("2.2.0", "0003", threeDSServerTransID=UNKNOWN_ID)
    responses = [await caller.auth("2.2.0", "0003", REQUESTOR, threeDSServerTransID=UNKNOWN_ID) for _ in range(2)]

    assert of_browser["errorCode"] == "301"
    assert [response["messageType"] for response in responses] == ["ARes", "Erro"]
    assert responses[0]["threeDSServerTransID"] == UNKNOWN_ID


@pytest.mark.parametrize(("seconds", "begins"), [(29.9, True), (30.0, False)])
async def test_a_challenge_begins_within_30_seconds_or_has_failed(
    caller: ThreeDSCaller, *, seconds: float, begins: bool
) -> None:
    ares = await caller.auth("2.2.0", "0070")
    caller.clock.now += seconds

    page = await caller.begin_challenge(ares)

    rreq = await caller.postauth(ares["threeDSServerTransID"])
    assert broken(rreq, "2.2.0") == []
    assert (page.status, page.submits_itself) == ((200, True) if begins else (400, False))
    result = [rreq.get(name) for name in ("transStatus", "transStatusReason", "challengeCancel")]
    assert result == (["Y", None, None] if begins else ["N", "14", "05"])


@pytest.mark.parametrize(("seconds", "status"), [(599.9, "Y"), (600.0, "N")])
async def test_a_cardholder_has_10_minutes(caller: ThreeDSCaller, seconds: float, status: str) -> None:
    ares = await caller.auth("2.2.0", "0072")
    page = await caller.begin_challenge(ares)
    caller.clock.now += seconds

    ended = await caller.browser.press(page.form, "pass")

    rreq = await caller.postauth(ares["threeDSServerTransID"])
    assert ended.submits_itself is (status == "Y")
    assert (rreq["transStatus"], rreq.get("challengeCancel")) == (status, None if status == "Y" else "04")


async def check_lifetime(caller: ThreeDSCaller, trans_id: str, seconds: float) -> Any:
    """Check that a result lasts for that long, and return it."""
    rreq = await caller.postauth(trans_id)
    assert broken(rreq, rreq["messageVersion"]) == []
    caller.clock.now += seconds - 0.1
    assert await caller.postauth(trans_id) == rreq
    caller.clock.now += 0.1
    assert await why_not(caller, trans_id) == UNKNOWN
    return rreq


async def test_a_result_lasts_for_300_seconds_from_when_it_came(caller: ThreeDSCaller) -> None:
    ares, left = await caller.auth("2.2.0", "0070"), await caller.auth("2.2.0", "0070")
    await caller.begin_challenge(ares)

    await check_lifetime(caller, ares["threeDSServerTransID"], 300)

    caller.clock.now += 30
    assert await why_not(caller, left["threeDSServerTransID"]) == UNKNOWN


@pytest.mark.parametrize("version", ["2.2.0", "2.3.1"])
@pytest.mark.parametrize(
    ("ending", "minutes", "seconds", "result"),
    [
        ("0080", 5, 90, ("Y", None)),
        ("0081", 5, 90, ("N", "01")),
        ("0080", 1, 60, ("U", "24")),
        ("0082", 1, 60, ("U", "24")),
    ],
)
async def test_a_decoupled_result_comes_later_or_when_the_time_is_up_and_lasts_20_minutes(
    caller: ThreeDSCaller, version: str, ending: str, minutes: int, seconds: float, result: tuple[str, str | None]
) -> None:
    ares = await caller.auth(version, ending, **decoupled(minutes))
    caller.clock.now += seconds - 0.1
    assert await why_not(caller, ares["threeDSServerTransID"]) == NOT_YET
    caller.clock.now += 0.1

    rreq = await check_lifetime(caller, ares["threeDSServerTransID"], 1200)

    assert (rreq["transStatus"], rreq.get("transStatusReason"), rreq["acsTransID"]) == (*result, ares["acsTransID"])


@pytest.mark.parametrize("ending", ["0003", "0063"])
async def test_a_transaction_without_challenge_never_has_a_result(caller: ThreeDSCaller, ending: str) -> None:
    trans_id = (await caller.auth("2.2.0", ending))["threeDSServerTransID"]

    assert await why_not(caller, trans_id) == NOT_YET
    caller.clock.now += 300
    assert await why_not(caller, trans_id) == UNKNOWN


async def test_what_has_expired_takes_no_space(caller: ThreeDSCaller) -> None:
    store: Any = caller.sandbox.transactions
    for ending in ("0003", "0070", "0072", "0080"):
        await caller.auth("2.2.0", ending, **decoupled(1))
        await caller.preauth(ending)
    assert len(store.all()) >= 8
    caller.clock.now += 24 * 3600

    assert (store.all(), store._agenda, store._transactions) == ((), [], {})
