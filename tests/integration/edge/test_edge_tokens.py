"""The token endpoint and the bearer tokens of callbacks, behind mutual TLS; tests/unit/edge has every wrong one."""

import base64
import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from gateway.settings import EdgeOAuthClientSettings
from sandbox import Sandbox
from sandbox.d1.callbacks.notifier import EdgeCredentials
from sandbox.d1.model.notification import Notification
from tests.integration.edge.edge_caller import OAUTH, TOKEN_PATH, EdgeCaller, Response, edge_log, event
from tests.running import SECOND_ISSUER, notification_path, running_gateway, settings_for


def _basic(secret: str = OAUTH.client_secret, client_id: str = OAUTH.client_id) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


async def _request_token(caller: EdgeCaller, authorization: str | None = None) -> Response:
    headers = {"Authorization": authorization or _basic()}
    return await caller.request("POST", TOKEN_PATH, data={"grant_type": "client_credentials"}, headers=headers)


async def test_a_token_comes_with_all_that_d1_reads(guarded_caller: EdgeCaller) -> None:
    before = time.time()
    response = await _request_token(guarded_caller)
    assert response.status == 200
    assert response.headers["cache-control"] == "no-store"
    token = response.json
    assert set(token) == {"access_token", "token_type", "expires_in", "expires_at", "scope"}
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", "900", OAUTH.scope)
    expires_at = datetime.strptime(token["expires_at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert len(token["expires_at"]) == len("2023-06-06T05:05:59.711Z")
    assert before + 898 < expires_at.timestamp() < time.time() + 901


@pytest.mark.parametrize(
    "authorization",
    ["Basic !!!", _basic("wrong"), _basic(""), _basic(client_id="someone"), _basic().replace("Basic", "Bearer")],
)
async def test_wrong_credentials_are_refused_without_a_word_on_what_is_wrong_and_not_logged(
    guarded_caller: EdgeCaller, authorization: str
) -> None:
    with edge_log() as logged:
        response = await _request_token(guarded_caller, authorization)
    assert response.error(401) == "invalid_client"
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert [entry["status"] for entry in logged] == [401]
    assert authorization.partition(" ")[2] not in repr(logged)


async def test_nothing_is_taken_without_one_token_of_ours_and_none_is_logged(guarded_caller: EdgeCaller) -> None:
    token = (await _request_token(guarded_caller)).json["access_token"]
    wrong = ["", token, _basic(), "Bearer", "Bearer ", "Bearer: ", f"Bearer:{token}"]
    wrong += ["Bearer x.y.z", "Bearer \u00e9", f"Bearer {token[:-1]}"]
    for values in ([], [f"Bearer {token}"] * 2, *([value] for value in wrong)):
        headers = [("Authorization", value) for value in values]
        with edge_log() as logged:
            response = await guarded_caller.request("POST", guarded_caller.path, json=event(), headers=headers)
        assert response.error(401) == "a valid bearer token is required"
        assert response.headers["www-authenticate"].startswith("Bearer ")
        assert [entry["status"] for entry in logged] == [401]
        assert token[:-1] not in repr(logged)
    assert "token" in (await guarded_caller.notify_consumer()).error(401)
    async with guarded_caller.connection() as (reader, writer):
        writer.write(guarded_caller.raw(b"{}", "Authorization: Bearer x").replace(b"Bearer x", b"Bearer \xff"))
        (await guarded_caller.read(reader)).error(401)
    assert await guarded_caller.stored() == []

    for place, scheme in enumerate(("Bearer", "Bearer:", "bearer: ")):
        response = await guarded_caller.notify(event(operationId=f"op_{place}"), Authorization=f"{scheme} {token}")
        assert response.status == 204


async def test_who_has_no_token_does_not_learn_what_there_is(guarded_caller: EdgeCaller) -> None:
    for path in (notification_path("card-1", "NOBODY0001"), notification_path("a.b"), "/elsewhere"):
        (await guarded_caller.request("POST", path, data=b"{")).error(401)


async def test_d1_as_simulated_fetches_a_token_and_notifies(guarded_caller: EdgeCaller) -> None:
    sent = Notification(guarded_caller.card_id, "op_1", datetime.now(UTC))
    assert await guarded_caller.running.sandbox.notifier.send(sent) == 204
    assert await guarded_caller.stored_operations() == ["op_1"]


_OWN = EdgeCredentials("own-client", "own secret", "own")


async def test_the_token_of_an_issuers_client_is_refused_at_the_path_of_another_issuer(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    used = settings_for(sandbox, tmp_path, oauth=OAUTH, second_issuer=True)
    assert used.edge.oauth is not None
    own = EdgeOAuthClientSettings(
        client_id=_OWN.client_id,
        client_secret_sha256=SecretStr(hashlib.sha256(_OWN.client_secret.encode()).hexdigest()),
        scope=_OWN.scope or "",
    )
    oauth = used.edge.oauth.model_copy(update={"clients": {SECOND_ISSUER: own}})
    used = used.model_copy(update={"edge": used.edge.model_copy(update={"oauth": oauth})})
    async with running_gateway(sandbox, used) as running:
        caller = EdgeCaller(running, session, "")
        tokens = {}
        for issuer_id, authorization in (
            ("SANDBOX001", _basic()),
            (SECOND_ISSUER, _basic(_OWN.client_secret, _OWN.client_id)),
        ):
            tokens[issuer_id] = (await _request_token(caller, authorization)).json["access_token"]
        for issuer_id, token in tokens.items():
            for path_issuer in tokens:
                with edge_log() as logged:
                    response = await caller.request(
                        "POST",
                        notification_path("card-1", path_issuer),
                        json=event(),
                        headers={"Authorization": f"Bearer {token}"},
                    )
                if path_issuer == issuer_id:
                    assert response.status == 204
                    continue
                assert response.error(401) == "a valid bearer token is required"
                assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
                (line,) = logged
                assert (line["issuer_id"], line["event"]) == (path_issuer, "callback_rejected")
                client_id = OAUTH.client_id if issuer_id == "SANDBOX001" else _OWN.client_id
                assert line["cause"].startswith(f"the token is of the client {client_id}, not of the one")
                assert token not in repr(logged)
