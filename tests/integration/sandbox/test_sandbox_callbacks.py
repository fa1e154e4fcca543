import asyncio
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.d1.callbacks.edge_client import EdgeCredentials
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.store import CardDetails
from tests.integration.sandbox.sandbox_edge import INFORMATION, Edge, Reply

FLOWS = {
    "information": Flow.SMS_OTP,
    "otp": Flow.SMS_OTP_ISSUER,
    "authentication": Flow.OOB_ISSUER,
    "result": Flow.OOB_ISSUER,
}
NAMES = {
    "information": "getConsumerInformation",
    "otp": "deliverOtp",
    "authentication": "authenticateConsumer",
    "result": "getAuthenticationResult",
}
FIXED = {"authenticationId": "auth-1"}


def buy(sandbox: Sandbox, kind: str) -> Purchase:
    """Start a purchase that sends a callback request of that kind."""
    sandbox.store.register("card-1", CardDetails("consumer-1", "light", InitialState.ACTIVE))
    return sandbox.purchases.start(Order("card-1", FLOWS[kind], poll_seconds=0.01))


@pytest.mark.parametrize(
    ("kind", "reply", "problem"),
    [
        ("information", Reply(204), "got HTTP 204, which D1 does not know"),
        ("information", Reply(503), "got HTTP 503, which D1 does not know"),
        ("information", Reply(302), "got HTTP 302, which D1 does not know"),
        ("information", Reply(500, "<p>Sorry</p>"), 'got HTTP 500 with a body that is not {"error"}'),
        ("information", Reply(404, {"message": "x"}), 'got HTTP 404 with a body that is not {"error"}'),
        ("information", Reply(404, {"error": 1}), 'got HTTP 404 with a body that is not {"error"}'),
        ("information", Reply(body=None), "got a reply that is not JSON"),
        ("information", Reply(body=INFORMATION, content_type="text/plain"), "got a reply that is not JSON"),
        ("information", Reply(body="{"), "got a reply that is not a JSON object"),
        ("information", Reply(body=[INFORMATION]), "got a reply that is not a JSON object"),
        ("information", Reply(body=INFORMATION | {"language": "en"}), "language is missing or wrong in the reply to"),
        ("information", Reply(body=INFORMATION | {"lastName": None}), "lastName is missing or wrong in the reply to"),
        ("information", Reply(body={"mobilePhoneNumber": {}}), "countryCode is missing or wrong in the reply to"),
        ("otp", Reply(200, {}), "got HTTP 200, which D1 does not know"),
        ("otp", Reply(202), "got HTTP 202, which D1 does not know"),
        ("authentication", Reply(201, FIXED), "got HTTP 201, which D1 does not know"),
        ("authentication", Reply(body={}), "authenticationId is missing or wrong in the reply to"),
        ("authentication", Reply(body={"authenticationId": "a/b"}), "authenticationId is missing or wrong in the"),
        ("authentication", Reply(body={"authenticationId": 1}), "authenticationId is missing or wrong in the reply"),
        ("result", Reply(body=FIXED), "status is missing or wrong in the reply to"),
        ("result", Reply(body={"status": "DENIED"}), "status has a value that is not allowed in the reply to"),
        ("result", Reply(body={"status": True}), "status is missing or wrong in the reply to"),
        ("result", Reply(body={"authenticationId": "x", "status": "PENDING"}), "authenticationId has a value that is"),
        ("result", Reply(body={"status": "FAILED", "error": {}}), "error is missing or wrong in the reply to"),
    ],
)
async def test_a_reply_that_breaks_the_contract_is_recorded_and_fails_the_purchase(
    sandbox: Sandbox, edge: Edge, kind: str, reply: Reply, problem: str
) -> None:
    edge.replies[kind] = [reply]

    purchase = buy(sandbox, kind)

    assert await purchase.done() is Status.FAILED
    assert problem in (purchase.error or "")
    assert NAMES[kind] in (purchase.error or "")
    assert purchase.failed_checks == [purchase.error]
    last = purchase.calls[-1]
    assert (last.name, last.status, last.problem) == (NAMES[kind], reply.status, purchase.error)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 415, 500])
async def test_an_error_that_d1_understands_fails_the_purchase_which_is_notified(
    sandbox: Sandbox, edge: Edge, kind: str, status: int
) -> None:
    edge.replies[kind] = [Reply(status, {"error": "Not now"} if status % 2 else None)]

    purchase = buy(sandbox, kind)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == f"{NAMES[kind]} got HTTP {status}"
    assert purchase.failed_checks == []
    await purchase.notified()
    assert edge.received[0].body["error"] == purchase.error


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("information", INFORMATION | {"shoeSize": 42}),
        ("authentication", FIXED | {"pushed": True}),
        ("result", {"status": "SUCCESSFUL", "error": "", "by": "face"}),
    ],
)
async def test_fields_that_d1_does_not_know_do_no_harm(sandbox: Sandbox, edge: Edge, kind: str, body: Any) -> None:
    edge.replies[kind] = [Reply(body=body)]

    purchase = buy(sandbox, kind)

    await purchase.awaiting()
    assert purchase.status is not Status.FAILED


async def test_every_callback_is_recorded_with_its_status_and_duration(sandbox: Sandbox, edge: Edge) -> None:
    edge.replies["result"] = [Reply(body={"status": "PENDING"}, delay_seconds=0.1), Reply(500)]

    purchase = buy(sandbox, "result")

    await purchase.done()
    assert [(call.name, call.status, call.problem) for call in purchase.calls] == [
        ("authenticateConsumer", 200, None),
        ("getAuthenticationResult", 200, None),
        ("getAuthenticationResult", 500, "getAuthenticationResult got HTTP 500"),
    ]
    assert purchase.calls[1].milliseconds >= 100


async def test_an_edge_that_takes_too_long_fails_the_purchase_which_is_notified(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path, edge_timeout_seconds=0.5) as sandbox, Edge().serve(sandbox) as edge:
        sandbox.set_edge(edge.url)
        edge.replies["otp"] = [Reply(204, delay_seconds=30)]

        purchase = buy(sandbox, "otp")

        assert await purchase.done() is Status.FAILED
        assert (purchase.error or "").startswith("The edge did not respond: ")
        assert [call.status for call in purchase.calls] == [None]
        assert (await purchase.notified()).status == 204


async def test_without_an_edge_a_purchase_fails_and_that_is_all(sandbox: Sandbox) -> None:
    purchase = buy(sandbox, "otp")

    assert await purchase.done() is Status.FAILED
    assert purchase.error == "No edge is set"
    assert (await purchase.notified()).error == "No edge is set"


async def test_callback_requests_and_notifications_share_a_bearer_token(tmp_path: Path) -> None:
    credentials = EdgeCredentials("d1", "secret")
    async with Sandbox.start(tmp_path, edge_credentials=credentials) as sandbox, Edge().serve(sandbox) as edge:
        sandbox.set_edge(edge.url)

        purchase = buy(sandbox, "result")

        await purchase.notified()
        assert {call.headers["Authorization"] for call in edge.callbacks} == {"Bearer edge-token"}
        assert edge.received[0].authorization == "Bearer edge-token"
        assert len(edge.token_requests) == 1


async def test_no_value_of_a_reply_is_in_an_error(sandbox: Sandbox, edge: Edge) -> None:
    edge.replies["information"] = [Reply(body={"firstName": "very@secret"})]

    purchase = buy(sandbox, "information")

    await purchase.notified()
    assert "secret" not in repr(purchase)
    assert "secret" not in str(edge.received)


async def test_a_bug_in_the_background_is_recorded_and_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("secret")

    sandbox.background.start(broken(), "a division")
    await asyncio.sleep(0.01)

    assert sandbox.background.errors == ["a division: ZeroDivisionError"]
    assert "a division failed" in caplog.text
