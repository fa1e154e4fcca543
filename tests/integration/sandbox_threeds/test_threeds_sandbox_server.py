"""The 3-D Secure server: its transport and API key, its transactions, and its part of the control API."""

import aiohttp
import pytest

from tests.contract.areqs import pan_of
from tests.integration.sandbox.sandbox_caller import Response
from tests.integration.sandbox_threeds.threeds_sandbox_browser import pack
from tests.integration.sandbox_threeds.threeds_sandbox_caller import (
    UNKNOWN_ID,
    ThreeDSCaller,
    broken,
    decoupled,
    make_areq,
)

CALLS = ("/preauth", "/auth", "/postauth")
LOOKUP = {"acctNumber": pan_of("0003")}


async def decide(caller: ThreeDSCaller, **body: str) -> Response:
    url = f"{caller.sandbox.control_url}/sandbox/threeds/decisions"
    async with caller.session.post(url, json=body) as response:
        return Response(response.status, await response.text())


async def shown(caller: ThreeDSCaller, trans_id: str) -> tuple[str, bool, str | None]:
    """Return what the control API shows of a transaction."""
    async with caller.session.get(f"{caller.sandbox.control_url}/sandbox/threeds/transactions") as response:
        listed = await response.text()
    assert pan_of("") not in listed
    transactions = {each["threeDSServerTransID"]: each for each in Response(200, listed).json["transactions"]}
    found = transactions[trans_id]
    return found["phase"], found["awaitsDecision"], found["transStatus"]


@pytest.mark.parametrize("path", CALLS)
async def test_a_wrong_or_missing_key_gets_an_error_in_plain_text(caller: ThreeDSCaller, path: str) -> None:
    wrong: tuple[dict[str, str], ...] = ({}, {"APIKey": ""}, {"APIKey": UNKNOWN_ID}, {"APIKey": "é"})
    for headers in wrong:
        async with caller.session.post(caller.sandbox.threeds_url + path, json=LOOKUP, headers=headers) as response:
            given = (response.status, response.content_type, await response.text())
        assert given == (401, "text/plain", "Invalid API Key"), headers


async def test_calls_are_json_posted_over_tls_to_known_paths(caller: ThreeDSCaller) -> None:
    for path in CALLS:
        assert [(await caller.send(method, path)).status for method in ("GET", "PUT", "DELETE")] == [405, 405, 405]
    form = await caller.send("POST", "/preauth", data=LOOKUP)
    assert (form.status, form.json["errorCode"]) == (400, "101")
    assert (await caller.send("POST", "/none", json=LOOKUP)).status == 404
    with pytest.raises(aiohttp.ClientError):
        await caller.session.post(caller.sandbox.threeds_url.replace("https", "http") + "/preauth", json=LOOKUP)
    headers = {"APIKey": caller.sandbox.threeds_api_key}
    async with caller.session.post(caller.sandbox.threeds_url + "/preauth", json=LOOKUP, headers=headers) as response:
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_a_form_sent_as_files_is_refused(caller: ThreeDSCaller) -> None:
    with aiohttp.MultipartWriter("form-data") as form:
        form.append(pack({})).set_content_disposition("form-data", name="creq", filename="creq.txt")
    async with caller.session.post(caller.sandbox.threeds_url + "/acs/challenge", data=form) as response:
        assert (response.status, "203 creq" in await response.text()) == (400, True)


@pytest.mark.parametrize(("decision", "status"), [("pass", "Y"), ("fail", "N")])
@pytest.mark.parametrize(("ending", "channel"), [("0082", "02"), ("0080", "03"), ("0072", "02"), ("0070", "01")])
async def test_a_pending_transaction_is_decided_once_at_the_control_api(
    caller: ThreeDSCaller, decision: str, status: str, ending: str, channel: str
) -> None:
    trans_id = (await caller.auth("2.2.0", ending, channel, **decoupled()))["threeDSServerTransID"]
    assert await shown(caller, trans_id) == ("DECOUPLED" if ending[2] == "8" else "CHALLENGED", True, None)

    decided = [await decide(caller, threeDSServerTransID=trans_id, decision=decision) for _ in range(2)]

    rreq = await caller.postauth(trans_id)
    assert (rreq["transStatus"], broken(rreq, "2.2.0", channel)) == (status, [])
    assert [response.status for response in decided] == [204, 404]
    assert "no such transaction" in decided[1].json["error"]
    assert await shown(caller, trans_id) == ("RESULT", False, status)
    assert (await decide(caller, threeDSServerTransID=trans_id, decision="maybe")).status == 400


async def test_a_lookup_is_good_for_one_authentication_and_its_card_only(caller: ThreeDSCaller) -> None:
    trans_id = (await caller.preauth("0003"))["threeDSServerTransID"]
    other = await caller.call("/auth", make_areq("2.2.0", pan_of("0013"), threeDSServerTransID=trans_id))
    wrong = await caller.auth("2.2.0", "0003", threeDSServerTransID=trans_id, mcc="1")
    answered, again = [await caller.auth("2.2.0", "0003", threeDSServerTransID=trans_id) for _ in range(2)]

    assert (other["errorCode"], "acctNumber" in other["errorDetail"]) == ("305", True)
    assert (wrong["messageType"], answered["messageType"]) == ("Erro", "ARes"), "a refused AReq leaves the lookup"
    assert (again["errorCode"], again["errorDetail"]) == ("301", "threeDSServerTransID has been used")


@pytest.mark.parametrize(("seconds", "status"), [(599.9, "Y"), (600.0, "N")])
async def test_a_cardholder_has_10_minutes(caller: ThreeDSCaller, seconds: float, status: str) -> None:
    ares = await caller.auth("2.2.0", "0072")
    page = await caller.begin_challenge(ares)
    caller.clock.now += seconds

    ended = await caller.browser.press(page.form, "pass")

    rreq = await caller.postauth(ares["threeDSServerTransID"])
    assert ended.submits_itself is (status == "Y")
    assert (rreq["transStatus"], rreq.get("challengeCancel")) == (status, None if status == "Y" else "04")
