"""Faults on demand: to whom they happen, how often, and what they leave done."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from sandbox.common.faults import Drop, Fault, Faults
from sandbox.d1.model.contract import Operation
from tests.integration.sandbox.sandbox_caller import GRANT_TYPE, Caller
from tests.integration.sandbox.sandbox_edge import until

NEITHER_TOKEN_NOR_CARD = (
    ("GET", "v1/issuers/{issuer}/cards/c/3ds/operations"),
    ("GET", "v1/issuers/{issuer}/cards/c/3ds/operations/o"),
    ("POST", "v1/issuers/{issuer}/appinstances/a/authncredentials/operations:delete"),
    ("PUT", "v2/issuers/{issuer}/consumers/c"),
    ("POST", "v1/issuers/{issuer}/consumers/c/operations:delete"),
)


@pytest.fixture
def faults(caller: Caller) -> Iterator[Faults]:
    yield caller.sandbox.faults
    caller.sandbox.faults.clear()


async def test_faults_happen_in_order_as_often_as_set_and_to_their_operation_only(
    faults: Faults, caller: Caller
) -> None:
    faults.add(Fault("deleteCard", status=503))
    faults.add(Fault("registerCard", times=2, status=500))
    faults.add(Fault("registerCard", status=429))

    assert [(await caller.register()).status for _ in range(4)] == [500, 500, 429, 204]
    assert (await caller.operate("delete", reasonCode="CLOSED_CARD")).status == 503


async def test_every_operation_can_be_made_to_fail(faults: Faults, caller: Caller) -> None:
    for operation in Operation:
        faults.add(Fault(operation.value, status=503))

    responses = [await caller.get_token(), await caller.create(), await caller.register("c")]
    responses += [await caller.operate(verb, "c") for verb in ("renew", "replace", "delete", "suspend", "resume")]
    responses += [await caller.call(method, path) for method, path in NEITHER_TOKEN_NOR_CARD]

    assert [response.status for response in responses] == [503] * len(Operation)
    assert (await caller.get_token()).status == 200


async def test_a_fault_of_every_operation_happens_to_whichever_comes_until_it_is_cleared(
    faults: Faults, caller: Caller
) -> None:
    faults.add(Fault("*", times=100, status=500))
    assert [(await caller.register()).status, (await caller.get_token()).status] == [500, 500]

    faults.clear()

    assert (await caller.get_token()).status == 200


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=429, headers={"Retry-After": "7"}, body='{"a": 1}'), (429, "application/json", "7", '{"a": 1}')),
        (Fault(status=204), (204, "application/json", None, "")),
        (Fault(html=True), (502, "text/html", None, "<html>")),
        (Fault(html=True, status=200), (200, "text/html", None, "<html>")),
    ],
)
async def test_the_response_is_the_fault_and_nothing_is_done(
    faults: Faults, caller: Caller, fault: Fault, expected: tuple[int, str, str | None, str]
) -> None:
    faults.add(fault)

    url = f"{caller.sandbox.d1_url}/banking/v2/issuers/{caller.sandbox.issuer_id}/consumers/{caller.consumer_id}"
    async with caller.session.put(url, headers=caller.headers()) as response:
        status, content_type, retry_after, text = expected
        assert (response.status, response.content_type) == (status, content_type)
        assert response.headers.get("Retry-After") == retry_after
        assert (await response.text()).startswith(text)
    assert (await caller.create()).status == 404, "the consumer is still unknown"


@pytest.mark.parametrize(
    ("fault", "error", "state"),
    [
        (Fault(drop=Drop.BEFORE), aiohttp.ClientConnectionError, "ACTIVE"),
        (Fault(drop=Drop.AFTER), aiohttp.ClientConnectionError, "SUSPENDED"),
        (Fault(truncate=True), aiohttp.ClientPayloadError, "SUSPENDED"),
        (Fault(truncate=True, status=503, body="x" * 20), aiohttp.ClientPayloadError, "ACTIVE"),
    ],
)
async def test_a_connection_breaks_before_or_after_the_call_is_acted_on(
    faults: Faults, caller: Caller, fault: Fault, error: type[Exception], state: str
) -> None:
    await caller.register()
    faults.add(fault)

    with pytest.raises(error):
        await caller.operate("suspend", reasonCode="CARD_LOST")

    assert caller.state() == state


async def test_a_truncated_response_declares_its_whole_length_and_sends_half(faults: Faults, caller: Caller) -> None:
    faults.add(Fault("getToken", truncate=True))
    form = {"grant_type": GRANT_TYPE, "assertion": caller.assertion()}

    async with caller.session.post(f"{caller.sandbox.d1_url}/authz/v1/oauth2/token", data=form) as response:
        declared = response.content_length
        received = await response.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()

    assert response.status == 200
    assert declared is not None
    assert len(received) == declared // 2
    assert received.startswith(b'{"access_token"')


async def test_a_delay_holds_one_call_alone_which_is_done_though_its_caller_has_gone(
    faults: Faults, caller: Caller
) -> None:
    loop = asyncio.get_running_loop()
    faults.add(Fault("registerCard", latency_ms=300))
    start = loop.time()
    held = asyncio.create_task(caller.register())
    await until(lambda: not faults._pending)

    assert (await caller.get_token()).status == 200
    assert (held.done(), caller.cards()) == (False, [])
    held.cancel()
    await until(caller.cards)

    assert loop.time() - start >= 0.3
    assert held.cancelled()


@pytest.mark.parametrize(
    ("ordered", "status", "text"),
    [
        ({"times": 2, "status": 503, "headers": {"Retry-After": "1"}, "body": {"error": "x"}}, 503, '{"error":"x"}'),
        ({"html": True, "latency_ms": 1, "body": "<p>Sorry</p>"}, 502, "<p>Sorry</p>"),
        ({"drop": "before"}, None, ""),
        ({"drop": "after"}, None, ""),
        ({"truncate": True}, None, ""),
    ],
)
async def test_a_fault_is_ordered_and_cleared_through_the_control_api(
    faults: Faults, caller: Caller, ordered: dict[str, Any], status: int | None, text: str
) -> None:
    added = await caller.control("POST", "faults", {"operation": "getToken"} | ordered)

    if status is None:
        with pytest.raises(aiohttp.ClientError):
            await caller.get_token()
    else:
        response = await caller.get_token()
        assert (response.status, response.text) == (status, text)
    assert [left for _, left in faults._pending] == ([1] if "times" in ordered else [])
    cleared = await caller.control("DELETE", "faults")
    assert [added.status, cleared.status, (await caller.get_token()).status] == [204, 204, 200]
