import asyncio
import json

import aiohttp
import pytest

from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import Operation
from tests.integration.sandbox.sandbox_caller import GRANT_TYPE, Caller

NEITHER_TOKEN_NOR_CARD = (
    ("GET", "v1/issuers/{issuer}/cards/c/3ds/operations"),
    ("GET", "v1/issuers/{issuer}/cards/c/3ds/operations/o"),
    ("POST", "v1/issuers/{issuer}/appinstances/a/authncredentials/operations:delete"),
    ("PUT", "v2/issuers/{issuer}/consumers/c"),
    ("POST", "v1/issuers/{issuer}/consumers/c/operations:delete"),
)


def card_ids(caller: Caller) -> list[str]:
    return [card.card_id for card in caller.sandbox.store.cards()]


async def test_a_fault_happens_as_often_as_requested(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("registerCard", times=2, status=503))

    statuses = [(await caller.register("card-1")).status for _ in range(3)]

    assert statuses == [503, 503, 204]


async def test_a_fault_happens_to_its_operation_only(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("deleteCard", status=503))

    assert (await caller.register("card-1")).status == 204
    assert (await caller.operate("delete", "card-1", reasonCode="CLOSED_CARD")).status == 503


async def test_every_operation_can_be_made_to_fail(caller: Caller) -> None:
    for operation in Operation:
        caller.sandbox.faults.add(Fault(operation.value, status=503))

    responses = [await caller.get_token(), await caller.create(), await caller.register("card-1")]
    responses += [await caller.operate(verb, "c") for verb in ("renew", "replace", "delete", "suspend", "resume")]
    responses += [await caller.request(method, path) for method, path in NEITHER_TOKEN_NOR_CARD]

    assert [response.status for response in responses] == [503] * len(Operation)
    assert (await caller.get_token()).status == 200


async def test_a_fault_of_every_operation_happens_to_whichever_comes(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("*", times=2, status=500))

    assert (await caller.register("card-1")).status == 500
    assert (await caller.get_token()).status == 500
    assert (await caller.get_token()).status == 200


async def test_faults_happen_in_the_order_in_which_they_were_added(caller: Caller) -> None:
    for status in (500, 429):
        caller.sandbox.faults.add(Fault(status=status))

    assert [(await caller.get_token()).status for _ in range(3)] == [500, 429, 200]


async def test_faults_not_used_up_can_be_cleared(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault(times=100, status=500))
    caller.sandbox.faults.clear()

    assert (await caller.get_token()).status == 200


async def test_a_delay_holds_the_call_and_then_lets_it_through(caller: Caller) -> None:
    loop = asyncio.get_running_loop()
    caller.sandbox.faults.add(Fault(latency_ms=150))
    start = loop.time()

    response = await caller.register("card-1")

    assert response.status == 204
    assert loop.time() - start >= 0.15


async def test_a_status_comes_with_its_headers_and_body_and_nothing_is_done(caller: Caller) -> None:
    body = json.dumps({"errorCode": "TOO_MANY", "error": "Slow down"})
    caller.sandbox.faults.add(Fault(status=429, headers={"Retry-After": "7"}, body=body))

    async with caller.session.post(caller.sandbox.d1_url) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "7"
        assert response.content_type == "application/json"
        assert await response.text() == body
    assert card_ids(caller) == []


async def test_done_can_be_said_though_nothing_is(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("registerCard", status=204))

    response = await caller.register("card-1")

    assert (response.status, response.text) == (204, "")
    assert card_ids(caller) == []


async def test_an_error_response_is_truncated_too(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault(status=503, body="x" * 20, truncate=True))

    async with caller.session.post(caller.sandbox.d1_url) as response:
        assert (response.status, response.content_length) == (503, 20)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_dropped_connection_before_leaves_the_request_undone(caller: Caller) -> None:
    await caller.register("card-1")
    caller.sandbox.faults.add(Fault(drop=Drop.BEFORE))

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.operate("suspend", "card-1", reasonCode="CARD_LOST")

    assert caller.state("card-1") == "ACTIVE"


async def test_a_dropped_connection_after_leaves_the_request_done(caller: Caller) -> None:
    await caller.register("card-1")
    caller.sandbox.faults.add(Fault(drop=Drop.AFTER))

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.operate("suspend", "card-1", reasonCode="CARD_LOST")

    assert caller.state("card-1") == "SUSPENDED"


async def test_a_dropped_registration_can_be_sent_again(caller: Caller) -> None:
    # aiohttp itself retries an idempotent call once.
    caller.sandbox.faults.add(Fault(drop=Drop.AFTER, times=2))

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.register("card-1")

    assert card_ids(caller) == ["card-1"]
    assert (await caller.register("card-1")).status == 204


async def test_a_truncated_response_declares_all_of_its_length_and_sends_half(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("getToken", truncate=True))
    data = {"grant_type": GRANT_TYPE, "assertion": caller.assertion()}
    async with caller.session.post(caller.sandbox.d1_url + "/authz/v1/oauth2/token", data=data) as response:
        declared = response.content_length
        received = await response.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()

    assert response.status == 200
    assert declared is not None
    assert len(received) == declared // 2
    assert received.startswith(b'{"access_token"')


async def test_a_truncated_response_to_a_creation_leaves_the_card_created(caller: Caller) -> None:
    caller.sandbox.store.add_consumer("consumer-1")
    caller.sandbox.faults.add(Fault("createCard", truncate=True))

    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.create()

    assert len(card_ids(caller)) == 1


async def test_a_response_without_a_body_is_truncated_too(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("registerCard", truncate=True))

    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.register("card-1")

    assert card_ids(caller) == ["card-1"]


@pytest.mark.parametrize(("status", "answered"), [(None, 502), (200, 200)])
async def test_an_html_page_can_replace_the_response(caller: Caller, status: int | None, answered: int) -> None:
    caller.sandbox.faults.add(Fault(html=True, status=status))

    async with caller.session.post(caller.sandbox.d1_url) as response:
        assert response.status == answered
        assert response.content_type == "text/html"
        assert (await response.text()).startswith("<html>")


async def test_a_delayed_call_is_done_though_its_caller_has_gone(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("registerCard", latency_ms=200))
    body = {"consumerId": "consumer-1", "cardProductId": "light", "encryptedData": caller.encrypted()}

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.call("PUT", "/card-1", body), 0.1)
    before = card_ids(caller)
    await asyncio.sleep(0.5)

    assert (before, card_ids(caller)) == ([], ["card-1"])


async def test_a_delayed_call_does_not_hold_others(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("registerCard", latency_ms=2000))
    held = asyncio.create_task(caller.register("card-1"))
    await asyncio.sleep(0.05)

    assert (await caller.get_token()).status == 200
    assert not held.done()

    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
