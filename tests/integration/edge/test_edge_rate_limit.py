"""The rate limits of the token endpoint and of callbacks."""

import base64

from tests.integration.edge.edge_caller import OAUTH, TOKEN_PATH, EdgeCaller, Response

_MOST_FAILURES = 10
_MOST_REQUESTS = 120


async def _ask(caller: EdgeCaller, secret: str) -> Response:
    pair = base64.b64encode(f"{OAUTH.client_id}:{secret}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    return await caller.request("POST", TOKEN_PATH, data=form, headers={"Authorization": f"Basic {pair}"})


def _seconds(response: Response) -> int:
    assert response.error(429) == "too many requests"
    return int(response.headers["retry-after"])


async def test_after_ten_failures_even_the_right_secret_has_to_wait(guarded_caller: EdgeCaller) -> None:
    token = (await _ask(guarded_caller, OAUTH.client_secret)).json["access_token"]
    for number in range(_MOST_FAILURES):
        assert (await _ask(guarded_caller, f"guess-{number}")).status == 401
    for secret in ("another guess", OAUTH.client_secret):
        assert 1 <= _seconds(await _ask(guarded_caller, secret)) <= 60
    assert (await guarded_caller.notify(Authorization=f"Bearer {token}")).status == 204, "callbacks still work"


async def test_who_asks_for_tokens_without_end_has_to_wait(guarded_caller: EdgeCaller) -> None:
    # Some requests succeed meanwhile: the limit is a rate.
    responses = [await _ask(guarded_caller, OAUTH.client_secret) for _ in range(2 * _MOST_REQUESTS)]
    assert [response.status for response in responses[:_MOST_REQUESTS]] == [200] * _MOST_REQUESTS
    refused = [response for response in responses if response.status != 200]
    assert refused
    assert all(_seconds(response) == 1 for response in refused)
