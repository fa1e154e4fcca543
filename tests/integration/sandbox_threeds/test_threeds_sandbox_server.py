"""TLS, the API key, methods and media types; faults on demand; the control API."""

import aiohttp
import pytest

from sandbox.common.faults import Drop, Fault
from sandbox.threeds.contract import Operation
from tests.contract.areqs import pan_of
from tests.integration.sandbox.sandbox_caller import Response
from tests.integration.sandbox_threeds.threeds_sandbox_browser import pack
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller, broken, decoupled

CALLS = ("/preauth", "/auth", "/postauth")
LOOKUP = {"acctNumber": pan_of("0003")}


async def decide(caller: ThreeDSCaller, **body: str) -> Response:
    url = f"{caller.sandbox.control_url}/sandbox/threeds/decisions"
    async with caller.session.post(url, json=body) as response:
        return Response(response.status, await response.text())


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("key", [None, "", "8a880dc0-d2d2-4067-bcb1-b08d1690b26e", "é"])
async def test_a_wrong_or_missing_key_gets_an_error_in_plain_text(
    caller: ThreeDSCaller, path: str, key: str | None
) -> None:
    headers = {} if key is None else {"APIKey": key}
    async with caller.session.post(caller.sandbox.threeds_url + path, json=LOOKUP, headers=headers) as response:
        assert (response.status, response.content_type, await response.text()) == (401, "text/plain", "Invalid API Key")


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


@pytest.mark.parametrize("path", CALLS)
async def test_a_fault_happens_to_its_call_only(caller: ThreeDSCaller, path: str) -> None:
    caller.sandbox.faults.add(Fault(path.strip("/"), status=503))

    statuses = {other: (await caller.send("POST", other, json={})).status for other in CALLS}

    assert statuses == {other: 503 if other == path else 200 for other in CALLS}
    assert (await caller.send("POST", path, json={})).status == 200


@pytest.mark.parametrize("operation", [Operation.THREE_DS_METHOD, Operation.CHALLENGE, Operation.DECISION])
async def test_a_page_can_fail_too(caller: ThreeDSCaller, operation: Operation) -> None:
    path = {Operation.THREE_DS_METHOD: "3ds-method"}.get(operation, operation.value)
    caller.sandbox.faults.add(Fault(operation.value, html=True))

    assert [(await caller.browser.post(f"/acs/{path}", {})).status for _ in range(2)] == [502, 400]


@pytest.mark.parametrize(
    ("fault", "phase"),
    [
        (Fault("auth", drop=Drop.BEFORE), "LOOKED_UP"),
        (Fault("auth", drop=Drop.AFTER), "ANSWERED"),
        (Fault("auth", truncate=True), "ANSWERED"),
    ],
)
async def test_a_connection_breaks_before_or_after_the_call_is_acted_on(
    caller: ThreeDSCaller, fault: Fault, phase: str
) -> None:
    trans_id = (await caller.preauth("0003"))["threeDSServerTransID"]
    caller.sandbox.faults.add(fault)

    with pytest.raises(aiohttp.ClientError):
        await caller.auth("2.2.0", "0003", threeDSServerTransID=trans_id)

    transaction = caller.sandbox.transactions.find(trans_id)
    assert transaction is not None
    assert transaction.phase == phase


async def test_transactions_are_listed_without_their_card(caller: ThreeDSCaller) -> None:
    challenged, answered = await caller.auth("2.2.0", "0070"), await caller.auth("2.2.0", "0003")
    caller.clock.now += 10

    async with caller.session.get(f"{caller.sandbox.control_url}/sandbox/threeds/transactions") as response:
        listed = await response.text()

    shown = {each["threeDSServerTransID"]: each for each in Response(200, listed).json["transactions"]}
    assert shown[challenged["threeDSServerTransID"]] == {
        "threeDSServerTransID": challenged["threeDSServerTransID"],
        "acsTransID": challenged["acsTransID"],
        "phase": "CHALLENGED",
        "secondsLeft": 20.0,
        "awaitsDecision": True,
        "transStatus": None,
    }
    assert not shown[answered["threeDSServerTransID"]]["awaitsDecision"]
    assert pan_of("") not in listed


@pytest.mark.parametrize(("decision", "status"), [("pass", "Y"), ("fail", "N")])
@pytest.mark.parametrize(("ending", "channel"), [("0082", "02"), ("0080", "03"), ("0072", "02"), ("0070", "01")])
async def test_a_pending_transaction_is_decided_once_at_the_control_api(
    caller: ThreeDSCaller, decision: str, status: str, ending: str, channel: str
) -> None:
    trans_id = (await caller.auth("2.2.0", ending, channel, **decoupled()))["threeDSServerTransID"]

    decided = [await decide(caller, threeDSServerTransID=trans_id, decision=decision) for _ in range(2)]

    rreq = await caller.postauth(trans_id)
    assert (rreq["transStatus"], broken(rreq, "2.2.0", channel)) == (status, [])
    assert [response.status for response in decided] == [204, 404]
    assert "no such transaction" in decided[1].json["error"]


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
    assert (await decide(caller, **body)).status == status
