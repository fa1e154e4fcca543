"""Errors as a caller of the port gets them, over real connections."""

import asyncio
import time
import traceback

import orjson
import pytest
from aiohttp import web

from adapters.d1.api import D1CardIssuer
from gateway.errors import GatewayError, Outcome, Reason
from issuer.common.v1 import error_pb2
from tests.integration.d1.fake_d1 import (
    ASSERTION_KEY,
    CREATE,
    CREDENTIALS,
    KEYS,
    PAN,
    REGISTER,
    SUSPEND,
    FakeD1,
    Handler,
    answering,
    call,
    cards_at,
)

REJECTED = error_pb2.OUTCOME_REJECTED
UNKNOWN = error_pb2.OUTCOME_UNKNOWN


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (302, error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, UNKNOWN),
        (400, error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED),
        (403, error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN, REJECTED),
        (404, error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND, REJECTED),
        (409, error_pb2.ERROR_REASON_UPSTREAM_CONFLICT, REJECTED),
        (422, error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED),
        (429, error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, REJECTED),
        (500, error_pb2.ERROR_REASON_UPSTREAM_FAILED, UNKNOWN),
        (502, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, UNKNOWN),
        (503, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, REJECTED),
        (504, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, UNKNOWN),
        (505, error_pb2.ERROR_REASON_UPSTREAM_FAILED, UNKNOWN),
    ],
)
async def test_every_status_reaches_the_caller_as_its_reason_after_one_call(
    d1: FakeD1, cards: D1CardIssuer, status: int, reason: Reason, outcome: Outcome
) -> None:
    d1.card_handler = answering(status, b'{"errorCode":"SOME_CODE","error":"some text"}')

    with pytest.raises(GatewayError) as caught:
        await cards.create_card(CREATE, call())

    assert (caught.value.reason, caught.value.outcome) == (reason, outcome)
    assert caught.value.metadata == {"upstream": "d1", "upstream_status": str(status), "upstream_code": "SOME_CODE"}
    assert len(d1.card_calls) == 1


async def test_retry_after_reaches_the_caller(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.card_handler = answering(429, Retry_After="30")

    with pytest.raises(GatewayError) as caught:
        await cards.create_card(CREATE, call())

    assert caught.value.retry_after_seconds == 30


@pytest.mark.parametrize("calls_before", [0, 1])
async def test_after_the_deadline_nothing_is_sent(d1: FakeD1, cards: D1CardIssuer, calls_before: int) -> None:
    for _ in range(calls_before):
        await cards.create_card(CREATE, call())

    with pytest.raises(GatewayError) as caught:
        await cards.create_card(CREATE, call(0))

    assert caught.value.reason == error_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
    assert len(d1.token_calls) == len(d1.card_calls) == calls_before


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def test_the_callers_deadline_ends_a_call_that_hangs(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.card_handler = hang
    started = time.monotonic()

    with pytest.raises(GatewayError) as caught:
        await cards.create_card(CREATE, call(0.2))

    assert caught.value.reason == error_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    assert caught.value.outcome == UNKNOWN
    assert 0.15 < time.monotonic() - started < 2


async def test_the_gateways_own_limit_ends_a_call_that_hangs(d1: FakeD1) -> None:
    d1.card_handler = hang
    started = time.monotonic()

    async with cards_at(d1.url, total_timeout_seconds=0.2, connect_timeout_seconds=0.2) as cards:
        for seconds in (None, 60.0):
            with pytest.raises(GatewayError) as caught:
                await cards.create_card(CREATE, call(seconds))
            assert caught.value.reason == error_pb2.ERROR_REASON_DEADLINE_EXCEEDED

    assert time.monotonic() - started < 3


async def test_the_repetition_after_a_refused_token_does_not_get_more_time(d1: FakeD1) -> None:
    async def refuse_slowly(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(status=401)

    d1.card_handler = refuse_slowly

    async with cards_at(d1.url, total_timeout_seconds=0.5, connect_timeout_seconds=0.5) as cards:
        with pytest.raises(GatewayError) as caught:
            await cards.create_card(CREATE, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    assert len(d1.card_calls) == 2


async def test_a_cancelled_call_is_cancelled(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.card_handler = hang
    task = asyncio.create_task(cards.create_card(CREATE, call()))
    await d1.seen(card_calls=1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_more_connections_are_open_than_allowed(d1: FakeD1) -> None:
    open_now = most = 0

    async def count(_request: web.Request) -> web.StreamResponse:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        return web.Response(status=204)

    d1.card_handler = count
    async with cards_at(d1.url, max_connections=3) as cards:
        await asyncio.gather(*(cards.suspend_card(SUSPEND, call()) for _ in range(30)))

    assert most == 3


def told(error: BaseException) -> str:
    """Everything that an error and those it came from would show."""
    text = "".join(traceback.format_exception(error))
    shown: BaseException | None = error
    while shown is not None:
        text += f"{shown} {shown!r} {shown.args} {vars(shown)}"
        shown = shown.__cause__ or shown.__context__
    return text


async def test_no_error_tells_a_pan_a_token_or_encrypted_data_even_if_d1_repeats_them(
    d1: FakeD1, cards: D1CardIssuer
) -> None:
    def repeating_everything(status: int) -> Handler:
        async def repeat(request: web.Request) -> web.StreamResponse:
            encrypted = orjson.loads(await request.read())["encryptedData"]
            text = f"{PAN} {request.headers['Authorization']} {encrypted}"
            return web.json_response({"errorCode": PAN, "error": text}, status=status)

        return repeat

    async def break_off(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def babble(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"no HTTP\r\n\r\n")
        request.transport.close()
        return web.Response()

    errors = []
    for handler in (*map(repeating_everything, (400, 401, 403, 409, 429, 500, 503)), break_off, babble, hang):
        d1.card_handler = handler
        with pytest.raises(GatewayError) as caught:
            await cards.register_card(REGISTER, call(0.5))
        errors.append(caught.value)

    secrets = [PAN, *d1.tokens]
    secrets += [seen.json()["encryptedData"] for seen in d1.card_calls]
    secrets += [seen.form()["assertion"][0] for seen in d1.token_calls]
    secrets += [part for secret in secrets for part in secret.split(".") if len(part) > 12]
    for text in map(told, errors):
        assert not [secret for secret in secrets if secret in text]


async def test_a_refused_assertion_is_not_told_even_if_d1_repeats_it(d1: FakeD1, cards: D1CardIssuer) -> None:
    async def repeat_everything(request: web.Request) -> web.StreamResponse:
        assertion = str((await request.post())["assertion"])
        return web.json_response({"error": f"bad assertion {assertion}"}, status=400)

    d1.token_handler = repeat_everything

    with pytest.raises(GatewayError) as caught:
        await cards.suspend_card(SUSPEND, call())

    (seen,) = d1.token_calls
    text = told(caught.value)
    assert "bad assertion ****" in text
    assert not [part for part in seen.form()["assertion"][0].split(".") if part in text]


async def test_no_object_that_holds_a_secret_shows_it(d1: FakeD1, cards: D1CardIssuer) -> None:
    await cards.register_card(REGISTER, call())

    private = ASSERTION_KEY.as_dict(private=True)["d"]
    shown = repr((KEYS, cards, cards._client, cards._client._tokens._caches, cards._client._http))
    assert d1.tokens[0] not in shown
    assert str(private) not in shown
    assert CREDENTIALS.pan not in shown
