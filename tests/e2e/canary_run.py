"""The canary run: everything possible with a gateway, valid and invalid."""

import asyncio
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

import orjson

from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import Operation
from sandbox.threeds.contract import Operation as ThreeDSOperation
from tests.e2e.canary_edge import KINDS
from tests.e2e.canary_handler import CanaryHandler, Manner
from tests.e2e.canary_requests import backfill, lookup, suspension
from tests.e2e.canary_stage import Stage
from tests.e2e.canary_values import SECRETS, WORDS
from tests.running import edge_tls

__all__ = ["perform"]

_UNTOLD: Final = {"OTP", "client secret", "wrong client secret", "wrong bearer token", "passphrase", "unknown field"}
"""The canaries that no upstream ever gets, so that none can repeat them."""
_SAID: Final = [name for name in (*SECRETS, *WORDS) if name not in _UNTOLD]
_EXPECTED: Final = {
    # D1 polls until there is a result.
    Manner.WRONGLY: {404},
    Manner.REFUSING: {404},
    Manner.SILENTLY: {200, 500},
    Manner.WELL: {200, 204},
}


async def perform(stage: Stage) -> None:
    await stage.edge.fetch_token()
    await stage.edge.notify()
    await stage.caller.do_well()
    await _handle_callbacks(stage)
    await stage.caller.do_badly()
    for call in stage.stranger.everything():
        await stage.stranger.must_fail(call)
    await stage.edge.do_badly()
    await _send_raw(stage)
    await _let_upstreams_fail(stage)
    await _let_upstreams_talk(stage)


async def _handle_callbacks(stage: Stage) -> None:
    channel = stage.caller.channel
    async with CanaryHandler.connect(channel, stage.evidence) as handler:
        for manner, expected in _EXPECTED.items():
            handler.manner = manner
            statuses = await asyncio.gather(*(stage.edge.call(kind) for kind in KINDS))
            assert set(statuses) == expected, manner
        handler.manner = Manner.ENCRYPTED
        assert await stage.edge.call("card_credentials") == 200
    async with CanaryHandler.connect(channel, stage.evidence, Manner.SILENTLY) as leaving:
        lost = asyncio.create_task(stage.edge.call("deliver_otp"))
        await leaving.connected.until(lambda handler: bool(handler.requests))
    assert await lost == 500


async def _send_raw(stage: Stage) -> None:
    gateway = stage.gateway
    await stage.edge.send_raw(gateway.edge.rpartition("/")[2], edge_tls(stage.sandbox))
    for address in (gateway.edge, gateway.admin, gateway.grpc):
        await stage.edge.send_raw(address.rpartition("/")[2], None)


async def _let_upstreams_fail(stage: Stage) -> None:
    """Let each upstream call fail in each way, with all canaries in the responses."""
    faults, text = stage.sandbox.faults, stage.evidence.canaries.all(_SAID)
    for fault in _failures(text):
        for call in stage.caller.everything():
            # Notifications come from the event log; a backfill pauses, and is left to `_let_upstreams_talk`.
            if call.method.containing_service.name != "NotificationService":
                faults.add(fault)
                await stage.caller.call(call)
                faults.clear()
    stage.sandbox.tokens.expire_all()
    faults.add(Fault(operation=Operation.GET_TOKEN, status=400, body=_d1_error(text), times=2))
    await stage.caller.must_fail(suspension(stage.evidence.canaries))
    faults.clear()


async def _let_upstreams_talk(stage: Stage) -> None:
    """Let the upstreams repeat what they got, one value at a time, so that nothing is truncated."""
    faults, caller, canaries = stage.sandbox.faults, stage.caller, stage.evidence.canaries
    said = [canaries[name] for name in _SAID]
    # With a token from D1, so that no call fails for want of one.
    await caller.must_fail(suspension(canaries))
    for text in (*said, *stage.sandbox.tokens._issued):
        for status in (400, 403, 500):
            faults.add(Fault(operation=Operation.SUSPEND_CARD, status=status, body=_d1_error(f"not {text} here")))
            await caller.must_fail(suspension(canaries))
    for status in (400, 403, 404):
        whole = _d1_error(canaries.all(_SAID))
        faults.add(Fault(operation=Operation.LIST_THREE_DS_OPERATIONS, status=status, body=whole))
        assert (await caller.call(backfill())).card.HasField("error")
    for text in (*said, stage.sandbox.threeds_api_key):
        faults.add(Fault(operation=ThreeDSOperation.PREAUTH, status=400, body=_erro(text)))
        await caller.must_fail(lookup(canaries))
    assert await caller.call(lookup(canaries)) is not None


def _failures(text: str) -> Iterator[Fault]:
    wrong_types = {"cardId": [text], "operations": text, "operationId": {"is": text}, "messageType": text}
    for status in (400, 401, 403, 404, 409, 418, 429, 500, 502, 503):
        yield Fault(status=status, body=_d1_error(text), headers={"Retry-After": text}, times=2)
    yield Fault(html=True, body=f"<html>{text}</html>", times=2)
    for body in (text, orjson.dumps(wrong_types).decode(), _erro(text)):
        yield Fault(status=200, body=body, times=2)
        yield Fault(status=200, body=body, truncate=True, times=2)
    yield Fault(drop=Drop.BEFORE, times=2)
    yield Fault(drop=Drop.AFTER, times=2)


def _d1_error(text: str) -> str:
    return orjson.dumps({"errorCode": text, "error": text, "fields": {text: [text]}}).decode()


def _erro(text: str) -> str:
    """Return an Erro of the 3DS server."""
    ids = {"threeDSServerTransID": str(uuid4()), "acsTransID": text, "dsTransID": text}
    words = {"errorDescription": text, "errorDetail": text, "errorMessageType": text}
    kind = {"messageType": "Erro", "messageVersion": "2.2.0", "errorCode": "203", "errorComponent": "S"}
    return orjson.dumps(ids | words | kind).decode()
