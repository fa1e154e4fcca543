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
from sandbox.common.tls import browser_context, client_context
from tests.integration.sandbox.sandbox_caller import GRANT_TYPE, Caller, jwk

WRONG_CLAIMS: tuple[dict[str, Any], ...] = (
    {"iss": "SOMEBODY01", "sub": "SOMEBODY01"},
    *({name: value} for name in ("iss", "sub") for value in ("SOMEBODY01", None)),
    *({"exp": value} for value in (1_800_000_000 + 901, 1_800_000_000, "1800000600", True, None)),
)
CARD = "v2/issuers/{issuer}/cards/{card}"


async def is_served(sandbox: Sandbox, tls: ssl.SSLContext) -> bool:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        try:
            async with session.post(sandbox.d1_url):
                return True
        except aiohttp.ClientError:
            return False


async def test_a_client_without_a_certificate_or_with_one_of_another_authority_is_refused(sandbox: Sandbox) -> None:
    pki = sandbox.pki
    clients = [client_context(identity, pki.server_ca) for identity in (pki.gateway_client, pki.d1_client)]

    served = [await is_served(sandbox, tls) for tls in (*clients, browser_context(pki.server_ca))]
    assert served == [True, False, False]


async def test_tls_before_1_2_is_refused(sandbox: Sandbox) -> None:
    old = client_context(sandbox.pki.gateway_client, sandbox.pki.server_ca)
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1

    assert not await is_served(sandbox, old)


async def test_a_malformed_token_request_gets_a_400_with_an_empty_body(stranger: Caller) -> None:
    requests: tuple[dict[str, Any], ...] = (
        {"json": {"grant_type": "client_credentials", "assertion": "x"}},
        {"json": {"assertion": "x"}},
        *({"json": {"grant_type": GRANT_TYPE} | rest} for rest in ({}, {"assertion": ""}, {"assertion": 1})),
        {"json": []},
        {"data": "x", "headers": {"Content-Type": "text/plain"}},
    )
    for request in requests:
        response = await stranger.send("POST", "/authz/v1/oauth2/token", **request)

        assert (response.status, response.text) == (400, ""), request


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
        partial(Caller.assertion, key=jwk.JWK.generate(kty="EC", crv="P-256")),
        *(partial(Caller.assertion, kid=kid) for kid in ("unknown", None, ["list"])),
        partial(Caller.assertion, typ="at+jwt"),
        *(lambda _, text=text: text for text in ("x", "a.b.c", "\N{SNOWMAN}.b.c")),
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
