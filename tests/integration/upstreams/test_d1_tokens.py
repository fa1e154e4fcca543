"""Tokens: fetched once for everyone, kept, refreshed early, replaced when refused."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from jwcrypto import jwk as oracle_jwk  # type: ignore[import-untyped]
from jwcrypto import jws as oracle_jws
from structlog.testing import capture_logs

from adapters.d1.api import D1CardIssuer
from gateway.errors import GatewayError
from tests.integration.upstreams.fake_d1 import ASSERTION_KEY, OTHER_ISSUER, SUSPEND, FakeD1, Tokens, tokens_at
from tests.integration.upstreams.fake_upstream import ISSUER, Seen, call, failure_of, kind_of, reply

LIFETIME = 900


@pytest.fixture
async def tokens(d1: FakeD1) -> AsyncIterator[Tokens]:
    async with tokens_at(d1) as source:
        yield source


def verified(seen: Seen) -> oracle_jws.JWS:
    """Verify an assertion with another library."""
    jws = oracle_jws.JWS()
    jws.allowed_algs = ["ES256"]
    jws.deserialize(seen.form()["assertion"][0], oracle_jwk.JWK(**ASSERTION_KEY.as_dict(private=False)))
    return jws


async def test_the_assertion_is_what_d1_requires_and_another_library_verifies_it(d1: FakeD1, tokens: Tokens) -> None:
    await tokens.get()

    (seen,) = d1.token_calls
    assert (seen.method, seen.path) == ("POST", "/authz/v1/oauth2/token")
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
    form = seen.form()
    assert form.keys() == {"grant_type", "assertion"}
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    jws = verified(seen)
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
    earliest = int(time.time())
    await cards.suspend_card(SUSPEND, call())
    d1.refused_tokens.add(d1.tokens[0])
    await cards.suspend_card(SUSPEND, call())

    first, second = (json.loads(verified(seen).payload) for seen in d1.token_calls)
    assert "aud" not in first | second
    assert first["jti"] != second["jti"]
    assert earliest <= first["iat"] <= time.time()


async def test_a_late_refusal_of_an_old_token_leaves_the_new_one_alone(d1: FakeD1, tokens: Tokens) -> None:
    old = await tokens.get()
    tokens.source.discard(ISSUER, old)
    new = await tokens.get()
    tokens.source.discard(ISSUER, old)

    assert await tokens.get() == new
    assert len(d1.token_calls) == 2


async def test_a_new_token_that_d1_rejects_too_is_replaced_only_after_a_pause(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.replies = [reply(status=401)]
    errors = await asyncio.gather(*(failure_of(cards.suspend_card(SUSPEND, call())) for _ in range(20)))
    errors += [await failure_of(cards.suspend_card(SUSPEND, call())) for _ in range(20)]

    assert {kind_of(error) for error in errors} == {("UPSTREAM_AUTHENTICATION", "REJECTED")}
    assert len(d1.token_calls) == 2
    assert len(d1.calls) <= 20 * 2 + 20


async def test_the_pause_between_rejected_tokens_ends(d1: FakeD1, tokens: Tokens) -> None:
    first = await tokens.get()
    assert tokens.source.discard(ISSUER, first)
    second = await tokens.get()
    assert not tokens.source.discard(ISSUER, second)
    tokens.clock.now += 4.9
    assert not tokens.source.discard(ISSUER, second)
    tokens.clock.now += 0.1
    assert tokens.source.discard(ISSUER, second)
    third = await tokens.get()
    assert not tokens.source.discard(ISSUER, third)
    tokens.source.accepted(ISSUER, third)
    assert tokens.source.discard(ISSUER, third)
    assert len(d1.token_calls) == 3


@pytest.mark.parametrize("expires_in", [900, 900.0, "900", " 900 ", None])
async def test_a_token_is_used_for_its_life_which_is_a_number_a_text_or_the_documented_one(
    d1: FakeD1, tokens: Tokens, expires_in: object
) -> None:
    d1.expires_in = expires_in
    first = await tokens.get()
    tokens.clock.now += 0.79 * LIFETIME
    assert await tokens.get() == first
    await tokens.idle()
    assert len(d1.token_calls) == 1

    tokens.clock.now += 0.21 * LIFETIME
    assert await tokens.get() == d1.tokens[1] != first


@pytest.mark.parametrize("further", ['"expires_in":null,"token_type":null', '"rate":1e999', r'"scope":"Caf\ud83d"'])
async def test_a_token_is_taken_from_json_that_d1_writes_in_its_own_way(
    d1: FakeD1, tokens: Tokens, further: str
) -> None:
    d1.token_reply = reply(f'\ufeff{{"access_token":"abc",{further}}}'.encode())

    assert await tokens.get() == "abc"


async def test_an_early_refresh_holds_nobody_up_and_happens_once(d1: FakeD1, tokens: Tokens) -> None:
    old = await tokens.get()
    tokens.clock.now += 0.81 * LIFETIME
    d1.token_gate.clear()

    meanwhile = [await tokens.get() for _ in range(100)]
    await d1.arrived(2)
    meanwhile.append(await tokens.get())
    d1.token_gate.set()
    await tokens.idle()

    assert set(meanwhile) == {old}
    assert await tokens.get() == d1.tokens[1] != old
    assert len(d1.token_calls) == 2


async def test_a_failed_early_refresh_goes_unnoticed_and_is_repeated_after_a_pause(d1: FakeD1, tokens: Tokens) -> None:
    old = await tokens.get()
    d1.token_reply = reply(status=500)
    tokens.clock.now += 0.81 * LIFETIME
    assert await tokens.get() == old
    await tokens.idle()

    assert [await tokens.get() for _ in range(10)] == [old] * 10
    await tokens.idle()
    assert len(d1.token_calls) == 2

    tokens.clock.now += 5
    d1.token_reply = None
    assert await tokens.get() == old
    await tokens.idle()
    assert await tokens.get() == d1.tokens[1]
    assert len(d1.token_calls) == 3


@pytest.mark.parametrize("waiters_to_cancel", [1, 9, 10])
async def test_a_caller_that_leaves_does_not_disturb_the_others(
    d1: FakeD1, tokens: Tokens, waiters_to_cancel: int
) -> None:
    d1.token_gate.clear()
    waiters = [asyncio.create_task(tokens.get()) for _ in range(10)]
    await d1.arrived(1)
    for waiter in waiters[:waiters_to_cancel]:
        waiter.cancel()
    await asyncio.sleep(0)
    d1.token_gate.set()
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert all(isinstance(result, asyncio.CancelledError) for result in results[:waiters_to_cancel])
    await tokens.idle()
    assert results[waiters_to_cancel:] == d1.tokens * (10 - waiters_to_cancel)
    assert await tokens.get() == d1.tokens[0]
    assert len(d1.token_calls) == 1


async def test_all_who_wait_for_a_fetch_that_fails_get_their_own_error_and_the_next_call_tries_anew(
    d1: FakeD1, tokens: Tokens
) -> None:
    d1.token_gate.clear()
    d1.token_reply = reply(status=503, Retry_After="700")
    waiters = [asyncio.create_task(tokens.get()) for _ in range(10)]
    await d1.arrived(1)
    d1.token_gate.set()
    errors = await asyncio.gather(*waiters, return_exceptions=True)

    assert len({id(error) for error in errors}) == 10
    for error in errors:
        assert isinstance(error, GatewayError)
        assert kind_of(error) == ("UPSTREAM_UNAVAILABLE", "NOT_SENT")
        assert error.retry_after_seconds == 700
    d1.token_reply = None
    assert await tokens.get() == d1.tokens[0]
    assert len(d1.token_calls) == 2


async def test_a_rate_limit_that_outlasts_the_call_is_reported_as_such(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.token_reply = reply(status=429, Retry_After="3")

    error = await failure_of(cards.suspend_card(SUSPEND, call(0.5)))

    assert kind_of(error) == ("UPSTREAM_RATE_LIMITED", "NOT_SENT")
    assert error.retry_after_seconds == 3
    assert d1.calls == []


async def test_why_d1_refuses_an_assertion_is_logged_without_numbers_and_tokens(
    d1: FakeD1, cards: D1CardIssuer
) -> None:
    d1.token_reply = reply({"error": "invalid_grant", "error_description": "the key of 4111111111111111 expired"}, 400)

    with capture_logs() as lines:
        error = await failure_of(cards.suspend_card(SUSPEND, call()))

    (line,) = [line for line in lines if line["event"] == "token_fetch_failed"]
    assert line["cause"] == "HTTP 400: invalid_grant: the key of **** expired"
    assert "invalid_grant" in error.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token":""}',
        b'{"access_token":7}',
        b'{"access_token":"a b"}',
        b'{"access_token":"a\\r\\nx: y"}',
        b'{"access_token":"abc","expires_in":"soon"}',
        b'{"access_token":"abc","expires_in":' + b"9" * 400 + b"}",
        b'{"access_token":"abc","expires_in":1e999}',
        b'{"access_token":"abc","expires_in":"nan"}',
        b'{"access_token":"abc","expires_in":true}',
        b'{"access_token":"abc","expires_in":0}',
        b'{"access_token":"abc","token_type":"mac"}',
    ],
)
async def test_a_response_without_a_usable_token_breaks_the_contract(
    d1: FakeD1, cards: D1CardIssuer, body: bytes
) -> None:
    d1.token_reply = reply(body)

    assert kind_of(await failure_of(cards.suspend_card(SUSPEND, call()))) == ("UPSTREAM_CONTRACT", "NOT_SENT")
    assert d1.calls == []


async def test_closing_ends_a_fetch_that_still_runs(d1: FakeD1) -> None:
    d1.token_gate.clear()
    async with tokens_at(d1) as tokens:
        waiter = asyncio.create_task(tokens.get())
        await d1.arrived(1)
    d1.token_gate.set()

    with pytest.raises(asyncio.CancelledError):
        await waiter


@pytest.fixture
async def shared(d1: FakeD1) -> AsyncIterator[Tokens]:
    """The tokens of two issuers with one aggregator."""
    async with tokens_at(d1, aggregator_id="AGGREGATOR") as source:
        yield source


async def test_the_issuers_of_an_aggregator_share_one_token_in_its_name(d1: FakeD1, shared: Tokens) -> None:
    d1.token_gate.clear()
    waiters = [asyncio.create_task(shared.get(issuer)) for issuer in (ISSUER, OTHER_ISSUER) for _ in range(5)]
    await d1.arrived(1)
    d1.token_gate.set()

    assert set(await asyncio.gather(*waiters)) == set(d1.tokens)
    (seen,) = d1.token_calls
    claims = json.loads(verified(seen).payload)
    assert (claims["iss"], claims["sub"]) == ("AGGREGATOR", "AGGREGATOR")
    shared.clock.now += 0.81 * LIFETIME
    for issuer in (ISSUER, OTHER_ISSUER):
        assert await shared.get(issuer) == d1.tokens[0]
    await shared.idle()
    assert {await shared.get(issuer) for issuer in (ISSUER, OTHER_ISSUER)} == {d1.tokens[1]}
    assert len(d1.token_calls) == 2


async def test_a_token_of_an_aggregator_that_one_issuer_discards_is_replaced_for_all(
    d1: FakeD1, shared: Tokens
) -> None:
    old = await shared.get()
    shared.source.accepted(ISSUER, old)
    assert shared.source.discard(ISSUER, old)
    assert shared.source.discard(OTHER_ISSUER, old), "it is replaced already"

    assert await shared.get() == await shared.get(OTHER_ISSUER) == d1.tokens[1]


async def test_an_issuer_that_d1_rejects_does_not_replace_the_aggregators_token_again_and_again(
    d1: FakeD1, shared: Tokens
) -> None:
    for _ in range(20):
        token = await shared.get()
        shared.source.accepted(OTHER_ISSUER, token)
        shared.source.discard(ISSUER, token)
    assert len(d1.token_calls) == 2

    shared.clock.now += 5
    assert shared.source.discard(ISSUER, await shared.get())
    assert shared.source.discard(OTHER_ISSUER, d1.tokens[-1])


async def test_a_failed_fetch_of_an_aggregators_token_names_it_in_the_log(d1: FakeD1, shared: Tokens) -> None:
    d1.token_reply = reply({"error": "invalid_grant"}, 400)
    with capture_logs() as lines:
        await failure_of(shared.get(OTHER_ISSUER))

    (line,) = lines
    assert (line["event"], line["aggregator_id"]) == ("token_fetch_failed", "AGGREGATOR")
    assert "issuer_id" not in line
