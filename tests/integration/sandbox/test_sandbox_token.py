"""D1's connections, assertions and access tokens."""

import base64
import json
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
import pytest

from sandbox import Sandbox
from tests.integration.sandbox.sandbox_caller import GRANT_TYPE, Caller, authenticated, jwk, trusting

TOKEN_PATH = "/authz/v1/oauth2/token"
WRONG_CLAIMS: tuple[dict[str, Any], ...] = (
    {"sub": "SOMEBODY01"},
    {"iss": "SOMEBODY01"},
    {"iss": "SOMEBODY01", "sub": "SOMEBODY01"},
    {"exp": 1_800_000_000 + 901},
    {"exp": 1_800_000_000},
    {"exp": "1800000600"},
    {"exp": True},
    {"iss": None},
    {"sub": None},
    {"exp": None},
)
CARD = "v2/issuers/{issuer}/cards/{card}"


async def is_served(sandbox: Sandbox, tls: ssl.SSLContext) -> bool:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        try:
            async with session.post(sandbox.d1_url):
                return True
        except aiohttp.ClientError:
            return False


async def test_a_client_without_a_certificate_is_refused(sandbox: Sandbox) -> None:
    assert not await is_served(sandbox, trusting(sandbox))


async def test_a_client_certificate_of_another_authority_is_refused(sandbox: Sandbox) -> None:
    foreign = trusting(sandbox)
    foreign.load_cert_chain(sandbox.pki.d1_client.certificate, sandbox.pki.d1_client.key)

    assert not await is_served(sandbox, foreign)


async def test_tls_before_1_2_is_refused(sandbox: Sandbox) -> None:
    old = authenticated(sandbox)
    assert await is_served(sandbox, old)
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1

    assert not await is_served(sandbox, old)


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"grant_type": "client_credentials", "assertion": "x"}},
        {"json": {"assertion": "x"}},
        {"json": {"grant_type": GRANT_TYPE}},
        {"json": {"grant_type": GRANT_TYPE, "assertion": ""}},
        {"json": {"grant_type": GRANT_TYPE, "assertion": 1}},
        {"json": []},
        {"data": "x", "headers": {"Content-Type": "text/plain"}},
    ],
)
async def test_a_malformed_token_request_gets_a_400_with_an_empty_body(
    stranger: Caller, request_: dict[str, Any]
) -> None:
    response = await stranger.send("POST", TOKEN_PATH, **request_)

    assert (response.status, response.text) == (400, "")


def unsigned(caller: Caller) -> str:
    """Return an assertion marked as unsigned (RFC 7519, section 6)."""
    header = json.dumps({"alg": "none", "typ": "JWT", "kid": caller.assertion_key["kid"]}).encode()
    return f"{base64.urlsafe_b64encode(header).decode().rstrip('=')}.{caller.assertion().split('.')[1]}."


def changed(caller: Caller) -> str:
    header, _, signature = caller.assertion().split(".")
    return f"{header}.{caller.assertion({'aud': 'x'}).split('.')[1]}.{signature}"


@pytest.mark.parametrize(
    "make",
    [
        *(partial(Caller.assertion, claims=claims) for claims in WRONG_CLAIMS),
        unsigned,
        changed,
        lambda caller: caller.assertion(key=jwk.JWK.generate(kty="EC", crv="P-256")),
        lambda caller: caller.assertion(kid="unknown"),
        lambda caller: caller.assertion(kid=None),
        lambda caller: caller.assertion(kid=["list"]),
        lambda caller: caller.assertion(typ="at+jwt"),
        lambda _: "x",
        lambda _: "a.b.c",
        lambda _: "\N{SNOWMAN}.b.c",
    ],
)
async def test_an_assertion_that_is_not_of_the_issuer_for_the_next_15_minutes_is_refused(
    stranger: Caller, make: Callable[[Caller], str]
) -> None:
    response = await stranger.get_token(make(stranger))

    assert (response.status, response.json.keys()) == (401, {"error"})


async def test_an_assertion_with_the_public_key_as_a_shared_secret_is_refused(stranger: Caller) -> None:
    secret = jwk.JWK.from_password(stranger.assertion_key.export_to_pem().decode())

    assert (await stranger.get_token(stranger.assertion(key=secret, alg="HS256"))).status == 401


async def test_a_call_without_a_token_is_refused_in_the_shape_of_its_version(stranger: Caller) -> None:
    path = f"/banking/{CARD}".format(issuer=stranger.sandbox.issuer_id, card="c")

    assert (await stranger.send("PUT", path, json={})).json == {"error": "Authorization header is missing"}
    for path in (CARD, "v1/issuers/{issuer}/cards/{card}/3ds/operations"):
        response = await stranger.call("GET" if "3ds" in path else "PUT", path)
        assert (response.status, response.json) == (401, {"error": "AUTHORIZER_UNAUTHORIZED"})


async def test_a_token_is_good_with_its_own_scheme_alone(caller: Caller) -> None:
    token = caller.headers()["Authorization"].removeprefix("Bearer ")
    statuses = [
        (await caller.call("POST", f"{CARD}/operations:renew", {}, Authorization=authorization)).status
        for authorization in (f"bearer {token}", f"Basic {token}", token, "Bearer ", "Bearer unknown")
    ]

    assert statuses == [404, 401, 401, 401, 401]


async def test_a_token_ends_after_15_minutes_whatever_tokens_follow(caller: Caller) -> None:
    assert (await caller.get_token()).status == 200
    caller.clock.now += 899
    assert (await caller.register()).status == 204

    caller.clock.now += 1

    assert (await caller.register()).status == 401
