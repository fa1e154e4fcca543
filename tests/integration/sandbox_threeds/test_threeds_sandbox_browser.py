"""The pages of the ACS in a cardholder's browser: the 3DS Method and the challenge."""

from typing import Any

import pytest

from tests.integration.sandbox_threeds.threeds_sandbox_browser import Page, pack, unpack
from tests.integration.sandbox_threeds.threeds_sandbox_caller import UNKNOWN_ID, ThreeDSCaller, broken

METHOD_URL = "https://requestor.example.org/method/end?a=1&b=2"


def is_refused(page: Page, problem: str) -> bool:
    """Return whether a page has no form, and an error that begins like the problem."""
    return (page.status, page.forms) == (400, ()) and f"<p>{problem}" in page.text


async def open_method(caller: ThreeDSCaller, crd: dict[str, Any], **changes: Any) -> Page:
    data = {"threeDSServerTransID": crd["threeDSServerTransID"], "threeDSMethodNotificationURL": METHOD_URL} | changes
    given = {name: value for name, value in data.items() if value is not None}
    return await caller.browser.post("/acs/3ds-method", {"threeDSMethodData": pack(given)})


async def test_the_method_reports_that_it_is_done_with_and_without_padding(caller: ThreeDSCaller) -> None:
    padded = set()
    for _ in range(2):
        crd = await caller.preauth("0003")
        page = await open_method(caller, crd)
        assert page.submits_itself
        assert (page.form.method, page.form.action) == ("post", METHOD_URL)
        report = page.form.fields["threeDSMethodData"]
        assert unpack(report) == {"threeDSServerTransID": crd["threeDSServerTransID"]}
        padded.add(report.endswith("="))

    assert padded == {True, False}


@pytest.mark.parametrize(
    ("ending", "changes", "problem"),
    [
        ("0103", {}, "301 "),
        ("0003", {"threeDSServerTransID": UNKNOWN_ID}, "301 "),
        ("0003", {"threeDSServerTransID": None}, "201 "),
        ("0003", {"threeDSServerTransID": 1}, "203 "),
        ("0003", {"threeDSMethodNotificationURL": None}, "201 "),
        ("0003", {"threeDSMethodNotificationURL": "javascript:alert(1)"}, "203 "),
    ],
)
async def test_wrong_method_data_or_a_card_without_a_method_are_refused(
    caller: ThreeDSCaller, ending: str, changes: dict[str, Any], problem: str
) -> None:
    assert is_refused(await open_method(caller, await caller.preauth(ending), **changes), problem)


@pytest.mark.parametrize(
    ("changes", "session_data", "problem"),
    [
        ({"threeDSServerTransID": UNKNOWN_ID}, None, "301 "),
        ({"acsTransID": UNKNOWN_ID}, None, "301 "),
        ({"messageVersion": "2.1.0"}, None, "203 "),
        ({"messageType": "CRes"}, None, "203 "),
        ({"challengeWindowSize": "06"}, None, "203 "),
        ({"acsTransID": "x"}, None, "203 "),
        ({"more": "x"}, None, "203 "),
        ({}, "x" * 1025, "203 threeDSSessionData"),
    ],
)
async def test_a_wrong_creq_is_refused_and_changes_nothing(
    caller: ThreeDSCaller, changes: dict[str, str], session_data: str | None, problem: str
) -> None:
    ares = await caller.auth("2.2.0", "0070")

    assert is_refused(await caller.begin_challenge(ares, session_data, **changes), problem)
    assert (await caller.begin_challenge(ares)).submits_itself
    assert is_refused(await caller.begin_challenge(ares), "402 "), "a challenge is passed once"


async def test_what_is_no_message_is_refused(caller: ThreeDSCaller) -> None:
    no_message = ("e30=", "e+0/", "e", pack({"messageType": "CReq"})[:-1])
    assert is_refused(await caller.browser.post("/acs/challenge", {}), "201 ")
    assert is_refused(await caller.browser.post("/acs/challenge", {"creq": pack({})}), "201 ")
    for creq in no_message:
        assert is_refused(await caller.browser.post("/acs/challenge", {"creq": creq}), "101 "), creq
    assert is_refused(await caller.browser.post("/acs/3ds-method", {"threeDSMethodData": "e30="}), "101 ")


@pytest.mark.parametrize(("wrong", "ends"), [(0, "Y"), (2, "Y"), (3, "N")])
async def test_an_otp_from_the_sms_passes_the_challenge_and_three_wrong_ones_fail_it(
    caller: ThreeDSCaller, wrong: int, ends: str
) -> None:
    ares = await caller.auth("2.2.0", "0074")
    page = await caller.begin_challenge(ares)
    [message] = caller.sandbox.phones.messages(ares["threeDSServerTransID"])
    assert message.otp not in page.text
    assert "ends in 0074" in page.text
    for number in range(wrong):
        page = await caller.browser.post(page.form.action, page.form.fields | {"otp": f"wrong {number}"})
        assert (f"Attempts left: {2 - number}." in page.text) is (number < 2)
    if ends == "Y":
        page = await caller.browser.post(page.form.action, page.form.fields | {"otp": f" {message.otp} "})

    assert unpack(page.form.fields["cres"])["transStatus"] == ends
    assert (await caller.postauth(ares["threeDSServerTransID"]))["transStatus"] == ends
    again = {name: ares[name] for name in ("threeDSServerTransID", "acsTransID")} | {"otp": message.otp}
    assert is_refused(await caller.browser.post("/acs/decision", again), "402 ")


async def test_the_cardholder_may_refuse_to_type_an_otp(caller: ThreeDSCaller) -> None:
    page = await caller.begin_challenge(await caller.auth("2.2.0", "0074"))
    page = await caller.browser.press(page.form, "fail")
    assert unpack(page.form.fields["cres"])["transStatus"] == "N"


async def test_a_challenge_is_decided_once_after_its_page_and_with_its_ids(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0072")
    ids = {name: ares[name] for name in ("threeDSServerTransID", "acsTransID")}

    async def decide(**changes: str) -> Page:
        return await caller.browser.post("/acs/decision", ids | changes)

    assert is_refused(await decide(decision="pass"), "402 ")
    await caller.begin_challenge(ares)
    assert is_refused(await decide(acsTransID=UNKNOWN_ID), "301 ")
    assert is_refused(await decide(decision="maybe"), "203 decision")
    assert is_refused(await decide(), "201 decision")
    assert (await decide(decision="fail")).submits_itself
    assert is_refused(await decide(decision="pass"), "402 ")
    rreq = await caller.postauth(ares["threeDSServerTransID"])
    assert (rreq["transStatus"], rreq["dsTransID"], broken(rreq, "2.2.0")) == ("N", ares["dsTransID"], [])


@pytest.mark.parametrize(("ending", "channel", "problem"), [("0003", "02", "402 "), ("0070", "01", "305 ")])
async def test_a_transaction_without_a_challenge_in_a_browser_has_no_page(
    caller: ThreeDSCaller, ending: str, channel: str, problem: str
) -> None:
    ares = await caller.auth("2.2.0", ending, channel)

    assert "acsURL" not in ares
    assert is_refused(await caller.begin_challenge(ares), problem)
