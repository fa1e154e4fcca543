"""Tokens: fetched once for everyone, kept, refreshed early, replaced when refused."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from jwcrypto import jwk as oracle_jwk  # type: ignore[import-untyped]
from jwcrypto import jws as oracle_jws

from adapters.d1.api import D1CardIssuer
from adapters.d1.api.errors import D1
from adapters.d1.api.oauth import TokenSource
from adapters.http.client import HttpExchange
from gateway.errors import GatewayError
from gateway.settings import UpstreamSettings
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.integration.d1.fake_d1 import (
    ASSERTION_KEY,
    ISSUER,
    KEYS,
    SUSPEND,
    FakeD1,
    answering,
    call,
    cards_at,
)


@dataclass(slots=True)
class Clock:
    """A monotonic clock that goes only when it is told to."""

    now: float = field(default=1000.0)

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def tokens_at(d1: FakeD1, monotonic: Clock) -> AsyncIterator[TokenSource]:
    settings = UpstreamSettings(base_url=d1.url, total_timeout_seconds=5.0)
    async with (
        aclosing(HttpExchange(D1, settings, None)) as http,
        aclosing(
            TokenSource(
                http,
                KEYS,
                settings,
                assertion_audience="https://api.d1.example",
                clock=lambda: 1_700_000_000.9,
                monotonic=monotonic,
            )
        ) as tokens,
    ):
        yield tokens


async def idle(tokens: TokenSource) -> None:
    """Wait until no fetch runs."""
    fetch = tokens._caches[ISSUER].fetch
    if fetch is not None:
        await asyncio.wait([fetch], timeout=5)


async def test_the_assertion_is_what_d1_asks_for_and_another_library_verifies_it(d1: FakeD1) -> None:
    async with tokens_at(d1, Clock()) as tokens:
        await tokens.get(ISSUER, "correlation-1")

    (seen,) = d1.token_calls
    assert (seen.method, seen.raw_path) == ("POST", "/authz/v1/oauth2/token")
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    form = seen.form()
    assert form.keys() == {"grant_type", "assertion"}
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    jws = oracle_jws.JWS()
    jws.allowed_algs = ["ES256"]
    jws.deserialize(form["assertion"][0], oracle_jwk.JWK(**ASSERTION_KEY.as_dict(private=False)))
    assert jws.jose_header == {"alg": "ES256", "typ": "JWT", "kid": "issuer-2025"}
    claims = json.loads(jws.payload)
    assert len(claims.pop("jti")) == 36
    assert claims == {
        "iss": ISSUER,
        "sub": ISSUER,
        "aud": "https://api.d1.example",
        "iat": 1_700_000_000,
        "exp": 1_700_000_300,
    }


async def test_no_audience_means_no_claim_and_every_assertion_is_new(d1: FakeD1, cards: D1CardIssuer) -> None:
    await cards.suspend_card(SUSPEND, call())
    d1.refused_tokens.add(d1.tokens[0])
    await cards.suspend_card(SUSPEND, call())

    key = oracle_jwk.JWK(**ASSERTION_KEY.as_dict(private=False))
    claims = []
    for seen in d1.token_calls:
        jws = oracle_jws.JWS()
        jws.deserialize(seen.form()["assertion"][0], key, "ES256")
        claims.append(json.loads(jws.payload))
    assert len(claims) == 2
    assert all("aud" not in each for each in claims)
    assert claims[0]["jti"] != claims[1]["jti"]
    assert abs(claims[0]["iat"] - time.time()) < 10


async def test_a_thousand_calls_without_a_token_fetch_one(d1: FakeD1) -> None:
    async with cards_at(d1.url, total_timeout_seconds=30.0, connect_timeout_seconds=30.0) as cards:
        await asyncio.gather(*(cards.suspend_card(SUSPEND, call()) for _ in range(1000)))

    assert len(d1.token_calls) == 1
    assert len(d1.card_calls) == 1000


async def test_two_hundred_calls_refused_for_their_token_fetch_one_new_one(d1: FakeD1) -> None:
    async with cards_at(d1.url, total_timeout_seconds=30.0, connect_timeout_seconds=30.0) as cards:
        await cards.suspend_card(SUSPEND, call())
        d1.refused_tokens.update(d1.tokens)
        responses = await asyncio.gather(*(cards.suspend_card(SUSPEND, call()) for _ in range(200)))

    assert responses == [card.SuspendCardResponse()] * 200
    assert len(d1.token_calls) == 2
    assert len(d1.card_calls) == 1 + 200 + 200


async def test_a_fresh_token_refused_too_is_an_error_of_our_credentials(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.card_handler = answering(401, b'{"errorCode":"AUTHORIZER_UNAUTHORIZED"}')

    with pytest.raises(GatewayError) as caught:
        await cards.suspend_card(SUSPEND, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION
    assert caught.value.outcome == error_pb2.OUTCOME_REJECTED
    assert caught.value.metadata["upstream_code"] == "AUTHORIZER_UNAUTHORIZED"
    assert len(d1.card_calls) == 2
    assert len(d1.token_calls) == 2


async def test_a_late_refusal_of_an_old_token_leaves_the_new_one_alone(d1: FakeD1) -> None:
    async with tokens_at(d1, Clock()) as tokens:
        old = await tokens.get(ISSUER, "correlation-1")
        tokens.discard(ISSUER, old)
        new = await tokens.get(ISSUER, "correlation-1")
        tokens.discard(ISSUER, old)

        assert await tokens.get(ISSUER, "correlation-1") == new
        assert len(d1.token_calls) == 2


async def test_a_token_is_used_until_most_of_its_life_is_over(d1: FakeD1) -> None:
    clock = Clock()
    async with tokens_at(d1, clock) as tokens:
        token = await tokens.get(ISSUER, "correlation-1")
        clock.now += 0.79 * 900

        assert await tokens.get(ISSUER, "correlation-1") == token
        assert len(d1.token_calls) == 1


async def test_an_early_refresh_holds_nobody_up_and_happens_once(d1: FakeD1) -> None:
    clock = Clock()
    async with tokens_at(d1, clock) as tokens:
        old = await tokens.get(ISSUER, "correlation-1")
        clock.now += 0.81 * 900
        d1.token_gate.clear()

        meanwhile = [await tokens.get(ISSUER, "correlation-1") for _ in range(100)]
        await d1.seen(token_calls=2)
        meanwhile.append(await tokens.get(ISSUER, "correlation-1"))
        d1.token_gate.set()
        await idle(tokens)

        assert set(meanwhile) == {old}
        assert await tokens.get(ISSUER, "correlation-1") == d1.tokens[1] != old
        assert len(d1.token_calls) == 2


async def test_a_failed_early_refresh_goes_unnoticed_and_is_repeated_after_a_pause(d1: FakeD1) -> None:
    clock = Clock()
    async with tokens_at(d1, clock) as tokens:
        old = await tokens.get(ISSUER, "correlation-1")
        d1.token_handler = answering(500)
        clock.now += 0.81 * 900
        assert await tokens.get(ISSUER, "correlation-1") == old
        await idle(tokens)

        assert [await tokens.get(ISSUER, "correlation-1") for _ in range(10)] == [old] * 10
        await idle(tokens)
        assert len(d1.token_calls) == 2

        clock.now += 5
        d1.token_handler = None
        assert await tokens.get(ISSUER, "correlation-1") == old
        await idle(tokens)
        assert await tokens.get(ISSUER, "correlation-1") == d1.tokens[1]
        assert len(d1.token_calls) == 3


async def test_an_expired_token_is_waited_for(d1: FakeD1) -> None:
    clock = Clock()
    async with tokens_at(d1, clock) as tokens:
        await tokens.get(ISSUER, "correlation-1")
        clock.now += 900

        assert await tokens.get(ISSUER, "correlation-1") == d1.tokens[1]


@pytest.mark.parametrize("waiters_to_cancel", [1, 9, 10])
async def test_a_caller_that_leaves_does_not_disturb_the_others(d1: FakeD1, waiters_to_cancel: int) -> None:
    async with tokens_at(d1, Clock()) as tokens:
        d1.token_gate.clear()
        waiters = [asyncio.create_task(tokens.get(ISSUER, "correlation-1")) for _ in range(10)]
        await d1.seen(token_calls=1)
        for waiter in waiters[:waiters_to_cancel]:
            waiter.cancel()
        await asyncio.sleep(0)
        d1.token_gate.set()
        results = await asyncio.gather(*waiters, return_exceptions=True)

        assert all(isinstance(result, asyncio.CancelledError) for result in results[:waiters_to_cancel])
        await idle(tokens)
        assert results[waiters_to_cancel:] == d1.tokens * (10 - waiters_to_cancel)
        assert await tokens.get(ISSUER, "correlation-1") == d1.tokens[0]
        assert len(d1.token_calls) == 1


async def test_all_who_wait_for_a_fetch_that_fails_are_told_and_the_next_call_tries_anew(d1: FakeD1) -> None:
    async with tokens_at(d1, Clock()) as tokens:
        d1.token_gate.clear()
        d1.token_handler = answering(503, Retry_After="7")
        waiters = [asyncio.create_task(tokens.get(ISSUER, "correlation-1")) for _ in range(10)]
        await d1.seen(token_calls=1)
        d1.token_gate.set()
        errors = await asyncio.gather(*waiters, return_exceptions=True)

        assert len({id(error) for error in errors}) == 10
        for error in errors:
            assert isinstance(error, GatewayError)
            assert error.reason == error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE
            assert error.outcome == error_pb2.OUTCOME_NOT_SENT
            assert error.retry_after_seconds == 7
        d1.token_handler = None
        assert await tokens.get(ISSUER, "correlation-1") == d1.tokens[0]
        assert len(d1.token_calls) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refused_assertion_is_an_error_of_our_credentials_and_nothing_was_sent(
    d1: FakeD1, cards: D1CardIssuer, status: int
) -> None:
    d1.token_handler = answering(status, b'{"error":"invalid_grant"}')

    with pytest.raises(GatewayError) as caught:
        await cards.suspend_card(SUSPEND, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
    assert caught.value.metadata["upstream_status"] == str(status)
    assert "invalid_grant" in caught.value.message
    assert d1.card_calls == []


@pytest.mark.parametrize("expires_in", [900, 900.0, "900", " 900 "])
async def test_a_life_is_read_as_a_number_or_as_text(d1: FakeD1, expires_in: object) -> None:
    d1.expires_in = expires_in
    clock = Clock()
    async with tokens_at(d1, clock) as tokens:
        first = await tokens.get(ISSUER, "correlation-1")
        clock.now += 0.7 * 900
        assert await tokens.get(ISSUER, "correlation-1") == first
        clock.now += 0.4 * 900
        assert await tokens.get(ISSUER, "correlation-1") != first


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"access_token":""}',
        b'{"access_token":7}',
        b'{"access_token":"a b"}',
        b'{"access_token":"a\\r\\nx: y"}',
        b'{"access_token":"abc","expires_in":"soon"}',
        b'{"access_token":"abc","expires_in":"nan"}',
        b'{"access_token":"abc","expires_in":true}',
        b'{"access_token":"abc","expires_in":0}',
        b'{"access_token":"abc","token_type":"mac"}',
    ],
)
async def test_an_answer_without_a_usable_token_breaks_the_contract(
    d1: FakeD1, cards: D1CardIssuer, body: bytes
) -> None:
    d1.token_handler = answering(200, body)

    with pytest.raises(GatewayError) as caught:
        await cards.suspend_card(SUSPEND, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
    assert d1.card_calls == []


async def test_a_token_of_unsaid_life_lives_as_long_as_documented(d1: FakeD1) -> None:
    d1.token_handler = answering(200, b'{"access_token":"abc"}')
    clock = Clock()
    async with tokens_at(d1, clock) as tokens:
        await tokens.get(ISSUER, "correlation-1")
        clock.now += 700
        await tokens.get(ISSUER, "correlation-1")
        assert len(d1.token_calls) == 1


async def test_a_caller_out_of_time_leaves_while_the_fetch_goes_on_for_the_next(
    d1: FakeD1, cards: D1CardIssuer
) -> None:
    d1.token_gate.clear()
    with pytest.raises(GatewayError) as caught:
        await cards.suspend_card(SUSPEND, call(0.05))
    d1.token_gate.set()

    assert caught.value.reason == error_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
    assert d1.card_calls == []
    assert await cards.suspend_card(SUSPEND, call()) == card.SuspendCardResponse()
    assert len(d1.token_calls) == 1


async def test_a_broken_token_call_leaves_the_card_call_unsent(d1: FakeD1, cards: D1CardIssuer) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    d1.token_handler = hang_up

    with pytest.raises(GatewayError) as caught:
        await cards.suspend_card(SUSPEND, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
    assert caught.value.retry_after_seconds == 1
    assert len(d1.token_calls) == 3
    assert d1.card_calls == []


async def test_closing_ends_a_fetch_that_still_runs(d1: FakeD1) -> None:
    d1.token_gate.clear()
    async with tokens_at(d1, Clock()) as tokens:
        waiter = asyncio.create_task(tokens.get(ISSUER, "correlation-1"))
        await d1.seen(token_calls=1)
    d1.token_gate.set()

    with pytest.raises(asyncio.CancelledError):
        await waiter
