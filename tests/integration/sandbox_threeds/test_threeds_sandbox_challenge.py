"""Challenges, through the pages of a browser."""

from typing import Any

import pytest

from sandbox.threeds.validation import Scene, problems
from tests.integration.sandbox_threeds.threeds_sandbox_areq import VERSIONS
from tests.integration.sandbox_threeds.threeds_sandbox_browser import Page, pack, unpack
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller

NOTIFICATION_URL = "https://requestor.example.org/challenge/end?a=1&b=2"
OTHER_ID = "8a880dc0-d2d2-4067-bcb1-b08d1690b26e"


async def check_end(caller: ThreeDSCaller, ares: dict[str, Any], page: Page, status: str) -> None:
    """Check that the page returns to the requestor and that /postauth has the same result."""
    cres, version = unpack(page.form.fields["cres"]), ares["messageVersion"]
    assert page.submits_itself
    assert (page.form.method, page.form.action) == ("post", NOTIFICATION_URL)
    assert problems(cres, "CRes", Scene(version)) == []
    assert (cres["transStatus"], cres["messageVersion"]) == (status, version)
    assert (cres["threeDSServerTransID"], cres["acsTransID"]) == (ares["threeDSServerTransID"], ares["acsTransID"])

    rreq = await caller.postauth(ares["threeDSServerTransID"])
    assert problems(rreq, "RReq", Scene(version)) == []
    assert (rreq["transStatus"], rreq["acsTransID"]) == (status, ares["acsTransID"])
    assert rreq["dsTransID"] == ares["dsTransID"]
    assert ("authenticationValue" in rreq) is (status == "Y")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("ending", "status"), [("0070", "Y"), ("0071", "N")])
async def test_a_challenge_ends_by_itself(caller: ThreeDSCaller, version: str, ending: str, status: str) -> None:
    ares = await caller.auth(version, ending)

    page = await caller.begin_challenge(ares)

    await check_end(caller, ares, page, status)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("decision", "status"), [("pass", "Y"), ("fail", "N")])
async def test_a_challenge_asks_the_cardholder(caller: ThreeDSCaller, version: str, decision: str, status: str) -> None:
    ares = await caller.auth(version, "0072")

    question = await caller.begin_challenge(ares)

    assert not question.submits_itself
    assert question.form.buttons == (("decision", "pass"), ("decision", "fail"))
    assert (await caller.postauth(ares["threeDSServerTransID"]))["errorDetail"] == "No RReq has been received"
    await check_end(caller, ares, await caller.browser.press(question.form, decision), status)


@pytest.mark.parametrize("ending", ["0070", "0072"])
async def test_session_data_come_back_as_they_were_sent(caller: ThreeDSCaller, ending: str) -> None:
    session_data = ("<\"'>&é" * 200)[:1024]
    page = await caller.begin_challenge(await caller.auth("2.2.0", ending), session_data)
    if page.form.buttons:
        page = await caller.browser.press(page.form, "pass")

    assert page.form.fields["threeDSSessionData"] == session_data


async def test_no_session_data_come_back_where_none_were_sent(caller: ThreeDSCaller) -> None:
    page = await caller.begin_challenge(await caller.auth("2.2.0", "0070"))

    assert set(page.form.fields) == {"cres"}


async def test_the_response_is_padded_every_other_time(caller: ThreeDSCaller) -> None:
    pages = [await caller.begin_challenge(await caller.auth("2.2.0", "0070")) for _ in range(4)]

    assert [page.form.fields["cres"].endswith("=") for page in pages] == [True, False, True, False]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"threeDSServerTransID": OTHER_ID}, "301"),
        ({"acsTransID": OTHER_ID}, "301"),
        ({"messageVersion": "2.1.0"}, "203"),
        ({"messageType": "CRes"}, "203"),
        ({"challengeWindowSize": "06"}, "203"),
        ({"acsTransID": "x"}, "203"),
        ({"more": "x"}, "203"),
    ],
)
async def test_a_wrong_creq_is_refused_and_changes_nothing(
    caller: ThreeDSCaller, changes: dict[str, str], code: str
) -> None:
    ares = await caller.auth("2.2.0", "0070")

    error_page = await caller.begin_challenge(ares, **changes)

    assert (error_page.status, error_page.forms) == (400, ())
    assert f"<p>{code} " in error_page.text
    await check_end(caller, ares, await caller.begin_challenge(ares), "Y")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "201"),
        ({"creq": "e30="}, "101"),
        ({"creq": "e+0/"}, "101"),
        ({"creq": "e"}, "101"),
        ({"creq": pack({"messageType": "CReq"})[:-1]}, "101"),
        ({"creq": pack({})}, "201"),
    ],
)
async def test_what_is_no_creq_is_refused(caller: ThreeDSCaller, fields: dict[str, str], code: str) -> None:
    error_page = await caller.browser.post("/acs/challenge", fields)

    assert error_page.status == 400
    assert f"<p>{code} " in error_page.text


async def test_session_data_that_are_too_long_are_refused(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")

    error_page = await caller.begin_challenge(ares, "x" * 1025)

    assert (error_page.status, "203 threeDSSessionData" in error_page.text) == (400, True)
    assert set((await caller.begin_challenge(ares)).form.fields) == {"cres"}


async def test_a_challenge_is_passed_only_once(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")
    await caller.begin_challenge(ares)

    assert "402" in (await caller.begin_challenge(ares)).text


async def test_a_decision_counts_only_once(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0072")
    question = await caller.begin_challenge(ares)
    await caller.browser.press(question.form, "fail")

    assert (await caller.browser.press(question.form, "pass")).status == 400
    assert (await caller.postauth(ares["threeDSServerTransID"]))["transStatus"] == "N"


async def test_nobody_decides_before_the_challenge_page_or_without_its_ids(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0072")
    ids = {name: ares[name] for name in ("threeDSServerTransID", "acsTransID")}

    assert "402" in (await caller.browser.post("/acs/decision", ids | {"decision": "pass"})).text
    await caller.begin_challenge(ares)
    assert "301" in (await caller.browser.post("/acs/decision", ids | {"acsTransID": OTHER_ID})).text
    assert "203 decision" in (await caller.browser.post("/acs/decision", ids | {"decision": "maybe"})).text
    assert "201 decision" in (await caller.browser.post("/acs/decision", ids)).text


async def test_a_frictionless_transaction_has_no_challenge(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0003")

    assert "402" in (await caller.begin_challenge(ares | {"acsURL": "/acs/challenge"})).text


async def test_the_challenge_of_an_app_is_not_for_browsers(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070", "01")

    assert "acsURL" not in ares
    assert "305" in (await caller.begin_challenge(ares | {"acsURL": "/acs/challenge"})).text
