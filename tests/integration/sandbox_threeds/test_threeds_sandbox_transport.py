"""TLS, the API key, methods and media types; faults on demand; the control API."""

import asyncio
from typing import Any

import aiohttp
import pytest

from sandbox.common.faults import Drop, Fault
from sandbox.threeds.contract import Operation
from sandbox.threeds.validation import Scene, problems
from tests.integration.sandbox.sandbox_caller import Response
from tests.integration.sandbox_threeds.threeds_sandbox_browser import pack
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller, pan_of

CALLS = ("/preauth", "/auth", "/postauth")
LOOKUP = {"acctNumber": pan_of("0003")}
DECOUPLED = {"threeDSRequestorDecReqInd": "Y", "threeDSRequestorDecMaxTime": "00005"}


async def control(caller: ThreeDSCaller, method: str, path: str, body: Any = None) -> Response:
    async with caller.session.request(method, caller.sandbox.control_url + path, json=body) as response:
        return Response(response.status, await response.text())


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("key", ["", "8a880dc0-d2d2-4067-bcb1-b08d1690b26e", "é"])
async def test_a_wrong_key_gets_an_error_in_plain_text(caller: ThreeDSCaller, path: str, key: str) -> None:
    url = caller.sandbox.threeds_url + path
    async with caller.session.post(url, json=LOOKUP, headers={"APIKey": key}) as response:
        assert (response.status, response.content_type, await response.text()) == (401, "text/plain", "Invalid API Key")


@pytest.mark.parametrize("path", CALLS)
async def test_a_missing_key_gets_the_same_error(caller: ThreeDSCaller, path: str) -> None:
    async with caller.session.post(caller.sandbox.threeds_url + path, json=LOOKUP) as response:
        assert (response.status, await response.text()) == (401, "Invalid API Key")


async def test_a_response_is_json(caller: ThreeDSCaller) -> None:
    headers = {"APIKey": caller.sandbox.threeds_api_key}
    async with caller.session.post(caller.sandbox.threeds_url + "/preauth", json=LOOKUP, headers=headers) as response:
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("path", CALLS)
async def test_calls_are_posted(caller: ThreeDSCaller, path: str) -> None:
    assert [(await caller.send(method, path)).status for method in ("GET", "PUT", "DELETE")] == [405, 405, 405]


async def test_a_call_has_to_say_that_it_is_json(caller: ThreeDSCaller) -> None:
    response = await caller.send("POST", "/preauth", data=LOOKUP)

    assert (response.status, response.json["errorCode"]) == (400, "101")


async def test_another_path_leads_nowhere(caller: ThreeDSCaller) -> None:
    assert (await caller.send("POST", "/none", json=LOOKUP)).status == 404


async def test_the_server_is_not_served_without_tls(caller: ThreeDSCaller) -> None:
    url = caller.sandbox.threeds_url.replace("https", "http")
    with pytest.raises(aiohttp.ClientError):
        await caller.session.post(url + "/preauth", json=LOOKUP)


@pytest.mark.parametrize("path", CALLS)
async def test_a_fault_happens_to_its_call_only(caller: ThreeDSCaller, path: str) -> None:
    caller.sandbox.faults.add(Fault(path.strip("/"), status=503, body='{"a": 1}', headers={"Retry-After": "1"}))
    statuses = {other: (await caller.send("POST", other, json={})).status for other in CALLS}

    assert statuses == {other: 503 if other == path else 200 for other in CALLS}
    assert (await caller.send("POST", path, json={})).status == 200


async def test_a_response_can_be_an_html_page(caller: ThreeDSCaller) -> None:
    caller.sandbox.faults.add(Fault("auth", html=True))

    response = await caller.send("POST", "/auth", json={})

    assert (response.status, "<html>" in response.text) == (502, True)


@pytest.mark.parametrize(
    ("fault", "acted_on"),
    [
        (Fault("auth", drop=Drop.BEFORE), False),
        (Fault("auth", drop=Drop.AFTER), True),
        (Fault("auth", truncate=True), True),
    ],
)
async def test_a_connection_can_break_before_and_after_the_call_is_acted_on(
    caller: ThreeDSCaller, fault: Fault, *, acted_on: bool
) -> None:
    caller.sandbox.faults.add(fault)

    with pytest.raises(aiohttp.ClientError):
        await caller.auth("2.2.0", "0003")

    (transaction,) = caller.sandbox.transactions.all()
    assert (transaction.phase == "ANSWERED") is acted_on


async def test_a_call_can_be_held(caller: ThreeDSCaller) -> None:
    caller.sandbox.faults.add(Fault("preauth", latency_ms=60_000))
    held = asyncio.ensure_future(caller.preauth(pan_of("0003")))
    done, _ = await asyncio.wait([held], timeout=0.2)

    assert not done
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held


async def test_a_page_can_fail_too(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")
    caller.sandbox.faults.add(Fault(Operation.CHALLENGE.value, html=True))

    assert (await caller.begin_challenge(ares)).status == 502
    assert (await caller.begin_challenge(ares)).status == 200


async def test_faults_are_ordered_at_the_control_api(caller: ThreeDSCaller) -> None:
    ordered = await control(caller, "POST", "/sandbox/faults", {"operation": "postauth", "status": 500})

    assert ordered.status == 204
    assert (await caller.send("POST", "/postauth", json={})).status == 500


async def test_the_front_page_tells_of_the_server(caller: ThreeDSCaller) -> None:
    page = (await control(caller, "GET", "/")).json

    assert page["threeds"] == caller.sandbox.threeds_url
    assert set(Operation) <= set(page["operations"])
    assert "GET /sandbox/threeds/transactions" in page["endpoints"]


async def test_transactions_are_listed_without_their_card(caller: ThreeDSCaller) -> None:
    ares = await caller.auth("2.2.0", "0070")
    await caller.auth("2.2.0", "0003")
    caller.clock.now += 10
    response = await control(caller, "GET", "/sandbox/threeds/transactions")

    assert response.json["transactions"][0] == {
        "threeDSServerTransID": ares["threeDSServerTransID"],
        "acsTransID": ares["acsTransID"],
        "phase": "CHALLENGED",
        "secondsLeft": 20.0,
        "awaitsDecision": True,
        "transStatus": None,
    }
    assert [shown["awaitsDecision"] for shown in response.json["transactions"]] == [True, False]
    assert pan_of("")[:12] not in response.text


@pytest.mark.parametrize(("decision", "status"), [("pass", "Y"), ("fail", "N")])
@pytest.mark.parametrize(
    ("ending", "channel", "request_fields"),
    [("0082", "02", DECOUPLED), ("0080", "03", DECOUPLED), ("0072", "02", {}), ("0070", "01", {})],
)
async def test_a_pending_transaction_is_decided_at_the_control_api(
    caller: ThreeDSCaller, decision: str, status: str, ending: str, channel: str, request_fields: dict[str, str]
) -> None:
    ares = await caller.auth("2.2.0", ending, channel, **request_fields)
    body = {"threeDSServerTransID": ares["threeDSServerTransID"], "decision": decision}

    assert (await control(caller, "POST", "/sandbox/threeds/decisions", body)).status == 204
    rreq = await caller.postauth(ares["threeDSServerTransID"])
    assert rreq["transStatus"] == status
    assert problems(rreq, "RReq", Scene("2.2.0", channel)) == []
    again = await control(caller, "POST", "/sandbox/threeds/decisions", body)
    assert (again.status, "no such transaction" in again.json["error"]) == (404, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"threeDSServerTransID": "x"}, 400),
        ({"threeDSServerTransID": "x", "decision": "maybe"}, 400),
        ({"threeDSServerTransID": "x", "decision": "pass"}, 404),
    ],
)
async def test_a_wrong_decision_is_refused(caller: ThreeDSCaller, body: dict[str, str], status: int) -> None:
    assert (await control(caller, "POST", "/sandbox/threeds/decisions", body)).status == status


async def test_a_form_sent_as_files_is_refused(caller: ThreeDSCaller) -> None:
    with aiohttp.MultipartWriter("form-data") as form:
        part = form.append(pack({}))
        part.set_content_disposition("form-data", name="creq", filename="creq.txt")
    async with caller.session.post(caller.sandbox.threeds_url + "/acs/challenge", data=form) as response:
        assert (response.status, "203 creq" in await response.text()) == (400, True)
