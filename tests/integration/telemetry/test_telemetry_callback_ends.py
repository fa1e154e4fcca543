"""Each way in which a callback request ends has one word, in the log and in the metrics; so has each kind of reply."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from gateway.ports import CallbackOutcome
from issuer.callback.v1 import messages_pb2 as callback
from sandbox.handler import Handler
from tests.callback_replies import reject, tell_person
from tests.integration.telemetry.operator_view import OperatorView

_KIND = "consumer_information"
_PATH = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-77"
_REPLIES = {number: name.removeprefix("REPLY_OUTCOME_").lower() for name, number in callback.ReplyOutcome.items()}


async def _tell_too_late(request: callback.CallbackRequest) -> callback.CallbackReply:
    await asyncio.sleep(request.time_left.ToMilliseconds() / 1000 + 0.1)
    return await tell_person(request)


async def _tell_nobody(request: callback.CallbackRequest) -> callback.CallbackReply:
    await asyncio.sleep(0.5)
    return await tell_person(request)


async def _wait(view: OperatorView, handler: Handler | None) -> int | None:
    del handler
    return await view.call("GET", _PATH)


async def _hang_up(view: OperatorView, handler: Handler | None) -> int | None:
    assert handler is not None
    call = asyncio.create_task(view.call("GET", _PATH))
    await handler.until(lambda handler: bool(handler.requests))
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    return None


async def _lose_handlers(view: OperatorView, handler: Handler | None) -> int | None:
    del handler
    call = asyncio.create_task(view.call("GET", _PATH))
    for attempt in range(1, 4):
        async with Handler.connect(view.running.channel, {_KIND: _tell_nobody}) as dying:
            await dying.until(lambda handler: bool(handler.requests))
            assert dying.requests[0].attempt == attempt
    async with Handler.connect(view.running.channel, {_KIND: tell_person}) as spared:
        status = await call
    assert spared.requests == []
    return status


class _End(NamedTuple):
    outcome: CallbackOutcome
    respond: Callable[[callback.CallbackRequest], Awaitable[callback.CallbackReply | None]] | None
    call: Callable[[OperatorView, Handler | None], Awaitable[int | None]]
    status: int | None
    """What D1 gets; None for nothing."""
    reply: str | None
    """What became of the handler's reply, as its acknowledgement says; None without a reply."""


_ENDS = [
    _End(CallbackOutcome.ANSWERED, tell_person, _wait, 200, "accepted"),
    _End(CallbackOutcome.REFUSED, reject, _wait, 404, "accepted"),
    _End(CallbackOutcome.FALLBACK, _tell_too_late, _wait, 500, "late"),
    _End(CallbackOutcome.NO_HANDLER, None, _wait, 500, None),
    _End(CallbackOutcome.EXHAUSTED, None, _lose_handlers, 500, None),
    _End(CallbackOutcome.WITHDRAWN, _tell_nobody, _hang_up, None, "already_answered"),
]


@pytest.mark.parametrize("end", _ENDS, ids=lambda end: end.outcome)
async def test_how_a_callback_ends_is_said_in_one_word(view: OperatorView, end: _End) -> None:
    before = await view.scrape()
    with capture_logs() as logged:
        if end.respond is None:
            assert await end.call(view, None) == end.status
        else:
            async with Handler.connect(view.running.channel, {_KIND: end.respond}, name="crm") as handler:
                await view.until("handlers_connected", 1, kind=_KIND)
                assert await end.call(view, handler) == end.status
                await handler.until(lambda handler: bool(handler.acknowledgements))
                assert [_REPLIES[each.outcome] for each in handler.acknowledgements] == [end.reply]
            await view.until("handlers_connected", 0, kind=_KIND)
    found = await view.scrape()

    lines = [line for line in logged if line["event"].startswith("callback_") and "callback" in line]
    assert [(line["outcome"], line["status"]) for line in lines] == [(end.outcome, end.status or "none")]
    counted = {each: found.growth(before, "callbacks_total", kind=_KIND, outcome=each) for each in CallbackOutcome}
    assert counted == {each: each == end.outcome for each in CallbackOutcome}

    not_counted = [line for line in logged if line["event"] == "callback_reply_not_counted"]
    expected = [] if end.reply in {None, "accepted"} else [("crm", end.reply)]
    assert [(line["handler"], line["outcome"]) for line in not_counted] == expected
    replies = {each: found.growth(before, "callback_replies_total", outcome=each) for each in _REPLIES.values()}
    assert replies == {each: each == end.reply for each in _REPLIES.values()}


def test_no_end_is_left_out() -> None:
    assert [end.outcome for end in _ENDS] == [*CallbackOutcome]


async def test_a_reply_that_is_invalid_of_nobody_or_of_another_kind_is_counted_as_such(view: OperatorView) -> None:
    before = await view.scrape()
    stranger = await reject(callback.CallbackRequest())

    async def reply_after_a_stranger(request: callback.CallbackRequest) -> callback.CallbackReply:
        stranger.token = request.token
        await sms.reply(stranger)
        await sms.until(lambda handler: len(handler.acknowledgements) == 3)
        return await tell_person(request)

    with capture_logs() as logged:
        async with (
            Handler.connect(view.running.channel, {"deliver_otp": reject}, name="sms") as sms,
            Handler.connect(view.running.channel, {_KIND: reply_after_a_stranger}, name="crm"),
        ):
            await sms.reply(callback.CallbackReply(token="t"))
            stranger.token = "x" * 48
            await sms.reply(stranger)
            await sms.until(lambda handler: len(handler.acknowledgements) == 2)
            assert await view.call("GET", _PATH) == 200
    found = await view.scrape()

    lines = [line for line in logged if line["event"] == "callback_reply_not_counted"]
    not_counted = [line["outcome"] for line in lines]
    assert not_counted == ["invalid", "unknown_token", "not_registered"]
    assert not_counted == [_REPLIES[each.outcome] for each in sms.acknowledgements]
    assert {line["handler"] for line in lines} == {"sms"}
    assert [found.growth(before, "callback_replies_total", outcome=each) for each in not_counted] == [1, 1, 1]
