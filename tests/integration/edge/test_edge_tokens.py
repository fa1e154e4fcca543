"""The token endpoint, and the bearer tokens of callbacks."""

import base64
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from sandbox import Sandbox
from sandbox.d1.model.notification import Notification
from tests.integration.edge.edge_caller import OAUTH, TOKEN_PATH, EdgeCaller, Response, event, stored
from tests.running import notification_path

_GRANT = {"grant_type": "client_credentials"}
_PAIR = f"{OAUTH.client_id}:{OAUTH.client_secret}".encode()


def _basic(pair: bytes = _PAIR) -> str:
    return "Basic " + base64.b64encode(pair).decode()


async def _ask(caller: EdgeCaller, form: Any = None, authorization: str | None = None) -> Response:
    headers = {"Authorization": _basic() if authorization is None else authorization}
    return await caller.request("POST", TOKEN_PATH, data=_GRANT if form is None else form, headers=headers)


async def _token(caller: EdgeCaller) -> str:
    return str((await _ask(caller)).json["access_token"])


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
async def test_d1_may_write_its_credentials_in_either_alphabet(
    guarded_caller: EdgeCaller, encode: Callable[[bytes], bytes], *, padded: bool
) -> None:
    plain, safe = base64.b64encode(_PAIR), base64.urlsafe_b64encode(_PAIR)
    assert plain != safe
    assert plain.endswith(b"=")
    text = encode(_PAIR).decode()
    response = await _ask(guarded_caller, authorization=f"Basic {text if padded else text.rstrip('=')}")
    assert response.status == 200


async def test_a_token_comes_with_all_that_d1_reads(guarded_caller: EdgeCaller) -> None:
    before = time.time()
    response = await _ask(guarded_caller)
    assert response.status == 200
    assert response.headers["cache-control"] == "no-store"
    token = response.json
    assert set(token) == {"access_token", "token_type", "expires_in", "expires_at", "scope"}
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", "900", OAUTH.scope)
    expires_at = datetime.strptime(token["expires_at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert len(token["expires_at"]) == len("2023-06-06T05:05:59.711Z")
    assert before + 898 < expires_at.timestamp() < time.time() + 901


@pytest.mark.parametrize("scope", ["", "notifications", "status notifications"])
async def test_any_part_of_the_agreed_scope_may_be_requested(guarded_caller: EdgeCaller, scope: str) -> None:
    assert (await _ask(guarded_caller, _GRANT | {"scope": scope})).status == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        (_GRANT | {"scope": "notifications admin"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"scope": "notifications"}, "invalid_request"),
        ([("grant_type", "client_credentials"), ("grant_type", "client_credentials")], "invalid_request"),
    ],
)
async def test_a_wrong_form_is_refused_in_oauths_words(guarded_caller: EdgeCaller, form: Any, error: str) -> None:
    assert (await _ask(guarded_caller, form)).error(400) == error


async def test_another_content_type_is_refused(guarded_caller: EdgeCaller) -> None:
    for content_type in ("application/json", "text/plain"):
        headers = {"Authorization": _basic(), "Content-Type": content_type}
        response = await guarded_caller.request("POST", TOKEN_PATH, data=b"{}", headers=headers)
        response.error(415)


async def test_a_form_that_is_no_text_is_refused(guarded_caller: EdgeCaller) -> None:
    headers = {"Authorization": _basic(), "Content-Type": "application/x-www-form-urlencoded"}
    response = await guarded_caller.request("POST", TOKEN_PATH, data=b"grant_type=\xff\xfe", headers=headers)
    response.error(400)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        _basic(b"d1-client:wrong"),
        _basic(b"d1-client:"),
        _basic(b"other:" + OAUTH.client_secret.encode()),
        _basic(_PAIR + b" "),
        _basic().replace("Basic", "Bearer"),
    ],
)
async def test_wrong_credentials_are_refused_and_not_logged(guarded_caller: EdgeCaller, authorization: str) -> None:
    with capture_logs() as logged:
        response = await _ask(guarded_caller, authorization=authorization)
    assert response.error(401) == "invalid_client"
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert [entry["status"] for entry in logged] == [401]
    secret = authorization.partition(" ")[2]
    assert not secret or secret not in repr(logged)


async def test_another_method_than_post_gives_no_token(guarded_caller: EdgeCaller) -> None:
    response = await guarded_caller.request("GET", TOKEN_PATH, headers={"Authorization": _basic()})
    response.error(405)
    assert response.headers["allow"] == "POST"


async def test_with_a_token_notifications_are_taken(guarded_caller: EdgeCaller) -> None:
    token = await _token(guarded_caller)
    for number, scheme in enumerate(("Bearer", "bearer")):
        body = event(operationId=f"op_{number}")
        assert (await guarded_caller.notify(body, Authorization=f"{scheme} {token}")).status == 204
    assert len(await stored(guarded_caller.running)) == 2


async def test_two_tokens_are_good_at_the_same_time(guarded_caller: EdgeCaller) -> None:
    tokens = [await _token(guarded_caller) for _ in range(2)]
    assert tokens[0] != tokens[1]
    for token in tokens:
        assert (await guarded_caller.notify(Authorization=f"Bearer {token}")).status == 204


def _key(sandbox: Sandbox) -> ECKey:
    return ECKey.import_key(orjson.loads(sandbox.pki.edge_token_key.read_bytes()))


def _sign(key: ECKey, **changes: Any) -> str:
    """Sign a token as the edge does, with changes; a claim set to ... is omitted."""
    now = int(time.time())
    claims = {
        "iss": "d1-gateway",
        "aud": "d1-gateway-edge",
        "sub": OAUTH.client_id,
        "scope": OAUTH.scope,
        "iat": now,
        "exp": now + 600,
    }
    kept = {name: value for name, value in (claims | changes).items() if value is not ...}
    return _sign_as(key, kept)


def _sign_as(key: ECKey, claims: dict[str, Any], **changes: Any) -> str:
    """Sign claims under a changed header."""
    header = {"alg": "ES256", "typ": "at+jwt", "kid": key.thumbprint()} | changes
    kept = {name: value for name, value in header.items() if value is not ...}
    return jwt.encode(kept, claims, key, algorithms=["ES256"])


def _hmac_signed(payload: str, secret: bytes) -> str:
    """Sign a payload with the public key as a shared secret."""
    signed = _base64url(b'{"alg":"HS256"}') + "." + payload
    return f"{signed}.{_base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _forgeries(sandbox: Sandbox, token: str) -> dict[str, str]:
    key = _key(sandbox)
    header, payload, signature = token.split(".")
    unsigned = _base64url(b'{"alg":"none"}')
    claims = jwt.decode(token, key, algorithms=["ES256"]).claims
    another = ECKey.generate_key("P-256")
    soon = int(time.time()) + 60
    return {
        "nothing": "",
        "no JWT": "abc",
        "expired": _sign(key, exp=int(time.time()) - 1),
        "without an expiry": _sign(key, exp=...),
        "of another issuer": _sign(key, iss="other"),
        "for another audience": _sign(key, aud="other"),
        "without an audience": _sign(key, aud=...),
        "of another client": _sign(key, sub="other"),
        "of another key": _sign(another),
        "of another key under our kid": _sign_as(another, claims, kid=key.thumbprint()),
        "under another kid": _sign_as(key, claims, kid=another.thumbprint()),
        "without a kid": _sign_as(key, claims, kid=...),
        "of another type": _sign_as(key, claims, typ="JWT"),
        "without a type": _sign_as(key, claims, typ=...),
        "that brings its own key": _sign_as(another, claims, jwk=another.as_dict(private=False)),
        "not good yet": _sign(key, nbf=soon),
        "from the future": _sign(key, iat=soon),
        "without a client": _sign(key, sub=...),
        "without a scope": _sign(key, scope=...),
        "with half of the scope": _sign(key, scope=str(OAUTH.scope).split()[0]),
        "with a scope that only begins so": _sign(key, scope=f"{OAUTH.scope}-read"),
        "an expiry that is no number": _sign(key, exp="2100-01-01"),
        "without an issuer": _sign(key, iss=...),
        "with the public key as a secret": _hmac_signed(payload, key.as_pem(private=False)),
        "not signed": f"{unsigned}.{payload}.",
        "with another signature": f"{header}.{payload}.{'A' * len(signature)}",
        "cut short": token[:-1],
        "twice": f"{token} {token}",
    }


async def test_no_other_token_will_do(guarded_caller: EdgeCaller) -> None:
    token = await _token(guarded_caller)
    running = guarded_caller.running
    assert (await guarded_caller.notify(Authorization=f"Bearer {_sign(_key(running.sandbox))}")).status == 204
    for name, forged in _forgeries(running.sandbox, token).items():
        with capture_logs() as logged:
            response = await guarded_caller.notify(event(operationId="op_forged"), Authorization=f"Bearer {forged}")
        assert response.error(401) == "a valid bearer token is required", name
        assert response.headers["www-authenticate"].startswith("Bearer ")
        assert [entry["status"] for entry in logged] == [401]
        assert not forged or forged not in repr(logged)
    assert [each.three_ds_operation.operation_id for each in await stored(running)] == ["op_1"]


async def test_without_one_bearer_header_nothing_is_taken(guarded_caller: EdgeCaller) -> None:
    token = await _token(guarded_caller)
    (await guarded_caller.notify()).error(401)
    (await guarded_caller.notify(Authorization=token)).error(401)
    (await guarded_caller.notify(Authorization=_basic())).error(401)
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    response = await guarded_caller.request("POST", notification_path("card-1"), json=event(), headers=twice)
    response.error(401)
    assert await stored(guarded_caller.running) == []


async def test_who_has_no_token_does_not_learn_what_there_is(guarded_caller: EdgeCaller) -> None:
    for path in (notification_path("card-1", "NOBODY0001"), notification_path("a.b"), "/elsewhere"):
        (await guarded_caller.request("POST", path, data=b"{")).error(401)


async def test_d1_as_simulated_fetches_a_token_and_notifies(guarded_caller: EdgeCaller) -> None:
    sent = Notification("card-1", "op_1", datetime.now(UTC))
    assert await guarded_caller.running.sandbox.notifier.send(sent) == 204
    assert len(await stored(guarded_caller.running)) == 1
