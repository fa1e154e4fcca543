"""Who guesses at the token endpoint is made to wait; so is who asks far more often than D1 does."""

import base64

from tests.integration.edge.edge_caller import OAUTH, TOKEN_PATH, Answer, EdgeCaller

_MOST_FAILURES = 10
_MOST_REQUESTS = 120


async def _ask(caller: EdgeCaller, secret: str) -> Answer:
    pair = base64.b64encode(f"{OAUTH.client_id}:{secret}".encode()).decode()
    form = {"grant_type": "client_credentials"}
    return await caller.request("POST", TOKEN_PATH, data=form, headers={"Authorization": f"Basic {pair}"})


def _seconds(answer: Answer) -> int:
    assert answer.error(429) == "too many requests"
    return int(answer.headers["retry-after"])


async def test_after_ten_failures_even_the_right_secret_has_to_wait(guarded_caller: EdgeCaller) -> None:
    token = (await _ask(guarded_caller, OAUTH.client_secret)).json["access_token"]
    for number in range(_MOST_FAILURES):
        assert (await _ask(guarded_caller, f"guess-{number}")).status == 401
    for secret in ("another guess", OAUTH.client_secret):
        assert 1 <= _seconds(await _ask(guarded_caller, secret)) <= 60
    assert (await guarded_caller.notify(Authorization=f"Bearer {token}")).status == 204, "callbacks go on"


async def test_who_asks_for_tokens_without_end_has_to_wait(guarded_caller: EdgeCaller) -> None:
    # Some come back while it goes on: the limit is a rate.
    answers = [await _ask(guarded_caller, OAUTH.client_secret) for _ in range(2 * _MOST_REQUESTS)]
    assert [answer.status for answer in answers[:_MOST_REQUESTS]] == [200] * _MOST_REQUESTS
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    assert all(_seconds(answer) == 1 for answer in refused)
