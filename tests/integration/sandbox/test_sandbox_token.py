import ssl
from typing import Any

import pytest

from sandbox import Sandbox
from tests.integration.sandbox.sandbox_caller import (
    GRANT_TYPE,
    Caller,
    ManualClock,
    authenticated,
    is_served,
    jwk,
    trusting,
    unsecured,
)

TOKEN_PATH = "/authz/v1/oauth2/token"


async def test_a_client_without_a_certificate_is_refused(sandbox: Sandbox) -> None:
    assert not await is_served(sandbox.d1_url, trusting(sandbox))
    assert await is_served(sandbox.d1_url, authenticated(sandbox))


async def test_a_client_certificate_of_another_authority_is_refused(sandbox: Sandbox) -> None:
    foreign = trusting(sandbox)
    foreign.load_cert_chain(sandbox.pki.d1_client.certificate, sandbox.pki.d1_client.key)

    assert not await is_served(sandbox.d1_url, foreign)


async def test_tls_before_1_2_is_refused(sandbox: Sandbox) -> None:
    old = authenticated(sandbox)
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1

    assert not await is_served(sandbox.d1_url, old)


async def test_an_assertion_in_a_form_gets_a_token_for_15_minutes(stranger: Caller) -> None:
    response = await stranger.get_token()

    assert response.status == 200
    assert response.json.keys() == {"access_token", "expires_in", "scope", "token_type"}
    assert response.json["expires_in"] == 900
    assert response.json["token_type"] == "Bearer"


async def test_an_assertion_in_json_gets_a_token(stranger: Caller) -> None:
    body = {"grant_type": GRANT_TYPE, "assertion": stranger.assertion()}

    response = await stranger.send("POST", TOKEN_PATH, json=body)

    assert response.status == 200


async def test_an_assertion_may_expire_15_minutes_ahead_and_have_further_claims(stranger: Caller) -> None:
    claims = stranger.claims(exp=int(stranger.clock.now) + 900, aud="https://d1.example", iat=1)

    assert (await stranger.get_token(stranger.assertion(claims))).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"grant_type": "client_credentials", "assertion": "x"},
        {"assertion": "x"},
        {"grant_type": GRANT_TYPE},
        {"grant_type": GRANT_TYPE, "assertion": ""},
        {"grant_type": GRANT_TYPE, "assertion": 1},
        [],
    ],
)
async def test_a_malformed_token_request_gets_a_400_with_an_empty_body(stranger: Caller, body: object) -> None:
    response = await stranger.send("POST", TOKEN_PATH, json=body)

    assert (response.status, response.text) == (400, "")


async def test_a_token_request_of_another_media_type_gets_a_400(stranger: Caller) -> None:
    response = await stranger.send("POST", TOKEN_PATH, data="x", headers={"Content-Type": "text/plain"})

    assert response.status == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "SOMEBODY01"},
        {"iss": "SOMEBODY01"},
        {"iss": "SOMEBODY01", "sub": "SOMEBODY01"},
        {"exp": 1_800_000_000 + 901},
        {"exp": 1_800_000_000},
        {"exp": 1_800_000_000 - 60},
        {"exp": "1800000600"},
        {"exp": True},
        {"exp": None},
    ],
)
async def test_an_assertion_with_a_wrong_claim_is_refused(stranger: Caller, changes: dict[str, object]) -> None:
    response = await stranger.get_token(stranger.assertion(stranger.claims(**changes)))

    assert response.status == 401
    assert response.json.keys() == {"error"}


@pytest.mark.parametrize("missing", ["iss", "sub", "exp"])
async def test_an_assertion_without_a_needed_claim_is_refused(stranger: Caller, missing: str) -> None:
    claims = stranger.claims()
    del claims[missing]

    assert (await stranger.get_token(stranger.assertion(claims))).status == 401


async def test_an_unsigned_assertion_is_refused(stranger: Caller) -> None:
    assertion = unsecured(stranger.claims(), stranger.assertion_key["kid"])

    assert (await stranger.get_token(assertion)).status == 401


async def test_an_assertion_with_the_public_key_as_a_shared_secret_is_refused(stranger: Caller) -> None:
    secret = jwk.JWK.from_password(stranger.assertion_key.export_to_pem().decode())

    assert (await stranger.get_token(stranger.assertion(key=secret, alg="HS256"))).status == 401


async def test_an_assertion_of_another_key_under_the_registered_kid_is_refused(stranger: Caller) -> None:
    other = jwk.JWK.generate(kty="EC", crv="P-256")

    assert (await stranger.get_token(stranger.assertion(key=other))).status == 401


@pytest.mark.parametrize("header", [{"kid": "unknown"}, {"kid": None}, {"kid": ["list"]}, {"typ": "at+jwt"}])
async def test_an_assertion_with_a_wrong_header_is_refused(stranger: Caller, header: dict[str, Any]) -> None:
    assert (await stranger.get_token(stranger.assertion(**header))).status == 401


@pytest.mark.parametrize("assertion", ["x", "a.b.c", "a.b.c.d.e", "\N{SNOWMAN}.b.c"])
async def test_what_is_no_jwt_is_refused(stranger: Caller, assertion: str) -> None:
    assert (await stranger.get_token(assertion)).status == 401


async def test_a_changed_assertion_is_refused(stranger: Caller) -> None:
    header, _, signature = stranger.assertion().split(".")
    _, claims, _ = stranger.assertion(stranger.claims(exp=int(stranger.clock.now) + 700)).split(".")

    assert (await stranger.get_token(f"{header}.{claims}.{signature}")).status == 401


async def test_a_call_without_a_token_gets_that_error(stranger: Caller) -> None:
    path = f"/banking/v2/issuers/{stranger.sandbox.issuer_id}/cards/card-1"

    response = await stranger.send("PUT", path, json={})

    assert (response.status, response.json) == (401, {"error": "Authorization header is missing"})


@pytest.mark.parametrize("authorization", ["Bearer unknown", "Bearer ", "Basic eDp5", "x"])
async def test_a_call_with_a_wrong_token_is_refused(caller: Caller, authorization: str) -> None:
    response = await caller.call("POST", "/card-1/operations:delete", {}, Authorization=authorization)

    assert (response.status, response.json) == (401, {"error": "AUTHORIZER_UNAUTHORIZED"})


async def test_a_token_is_good_under_its_own_scheme_only(caller: Caller) -> None:
    token = caller.headers()["Authorization"].removeprefix("Bearer ")

    assert (await caller.call("POST", "/card-1/operations:renew", {}, Authorization=f"bearer {token}")).status == 404
    assert (await caller.call("POST", "/card-1/operations:renew", {}, Authorization=f"Basic {token}")).status == 401


async def test_a_further_token_leaves_the_earlier_one_good(caller: Caller) -> None:
    assert (await caller.get_token()).status == 200

    assert (await caller.register("card-1")).status == 204


async def test_a_token_ends_after_15_minutes(caller: Caller, clock: ManualClock) -> None:
    clock.now += 899
    assert (await caller.register("card-1")).status == 204
    clock.now += 1
    assert (await caller.register("card-1")).status == 401


async def test_every_token_can_be_made_to_expire_at_once(caller: Caller) -> None:
    caller.sandbox.tokens.expire_all()

    assert (await caller.register("card-1")).status == 401
    await caller.sign_in()
    assert (await caller.register("card-1")).status == 204
