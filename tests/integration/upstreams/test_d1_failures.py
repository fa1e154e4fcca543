"""What D1's errors come to, and what none of them shows."""

import asyncio
import traceback

from adapters.d1.api import D1CardIssuer
from tests.integration.upstreams.fake_d1 import (
    ASSERTION_KEY,
    CREATE,
    CREDENTIALS,
    DONE,
    KEYS,
    PAN,
    REGISTER,
    SUSPEND,
    FakeD1,
    client_at,
)
from tests.integration.upstreams.fake_upstream import (
    BREAK,
    HANG,
    Answer,
    Reply,
    Seen,
    call,
    failure_of,
    kind_of,
    reply,
)


async def test_the_repetition_after_a_refused_token_does_not_get_more_time(d1: FakeD1) -> None:
    async def refuse_slowly(_request: Seen) -> Reply:
        await asyncio.sleep(1.2)
        return reply(status=401)

    d1.replies = [refuse_slowly]

    async with client_at(d1.url, total_timeout_seconds=2.0) as client:
        error = await failure_of(D1CardIssuer(client).create_card(CREATE, call()))

    assert kind_of(error) == ("DEADLINE_EXCEEDED", "UNKNOWN")
    assert len(d1.calls) == 2


def shown(error: BaseException) -> str:
    """Everything that an error and those it came from would show."""
    text = "".join(traceback.format_exception(error))
    each: BaseException | None = error
    while each is not None:
        text += f"{each} {each!r} {each.args} {vars(each)}"
        each = each.__cause__ or each.__context__
    return text


def repeating_everything(status: int) -> Answer:
    async def repeat(request: Seen) -> Reply:
        text = f"{PAN} {request.headers['authorization']} {request.json()['encryptedData']}"
        return reply({"errorCode": PAN, "error": text}, status)

    return repeat


async def test_no_error_shows_a_pan_a_token_or_encrypted_data_even_if_d1_repeats_them(
    d1: FakeD1, cards: D1CardIssuer
) -> None:
    errors = []
    repeating = map(repeating_everything, (400, 401, 403, 409, 429, 500, 503))
    for answer in (*repeating, BREAK, Reply(b"no HTTP\r\n\r\n"), HANG):
        d1.replies = [answer]
        errors.append(await failure_of(cards.register_card(REGISTER, call(1.0 if answer is HANG else None))))

    secrets = [PAN, *d1.tokens]
    secrets += [seen.json()["encryptedData"] for seen in d1.calls]
    secrets += [seen.form()["assertion"][0] for seen in d1.token_calls]
    secrets += [part for secret in secrets for part in secret.split(".") if len(part) > 12]
    assert {error.reason_name for error in errors} >= {"UPSTREAM_INVALID", "UPSTREAM_NO_RESPONSE", "DEADLINE_EXCEEDED"}
    for text in map(shown, errors):
        assert not [secret for secret in secrets if secret in text]


async def test_a_refused_assertion_is_not_shown_even_if_d1_repeats_it(d1: FakeD1, cards: D1CardIssuer) -> None:
    async def repeat_everything(request: Seen) -> Reply:
        return reply({"error": f"bad assertion {request.form()['assertion'][0]}"}, 400)

    d1.token_reply = repeat_everything

    text = shown(await failure_of(cards.suspend_card(SUSPEND, call())))

    (seen,) = d1.token_calls
    assert "bad assertion ****" in text
    assert not [part for part in seen.form()["assertion"][0].split(".") if part in text]


async def test_no_object_that_holds_a_secret_shows_it(d1: FakeD1, cards: D1CardIssuer) -> None:
    await cards.register_card(REGISTER, call())

    private = ASSERTION_KEY.as_dict(private=True)["d"]
    text = repr((KEYS, cards, cards._client, cards._client._tokens._caches, cards._client._connections))
    assert d1.tokens[0] not in text
    assert str(private) not in text
    assert CREDENTIALS.pan not in text


PAGE = reply(b"<html><title>Request Rejected</title></html>", Content_Type="text/html; charset=utf-8")


async def test_a_firewalls_page_is_no_success_and_a_change_is_not_repeated_after_it(
    d1: FakeD1, cards: D1CardIssuer
) -> None:
    d1.replies = [PAGE]

    error = await failure_of(cards.suspend_card(SUSPEND, call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
    assert "its body (text/html) is no JSON object" in error.message
    assert len(d1.calls) == 1


async def test_an_idempotent_call_is_repeated_after_a_firewalls_page(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.replies = [PAGE, PAGE, DONE]

    await cards.register_card(REGISTER, call())

    assert len(d1.calls) == 3


async def test_a_page_in_place_of_a_token_is_repeated_and_no_token(d1: FakeD1, cards: D1CardIssuer) -> None:
    d1.token_reply = PAGE

    error = await failure_of(cards.suspend_card(SUSPEND, call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "NOT_SENT")
    assert "its body (text/html) is no JSON object" in error.message
    assert (len(d1.token_calls), d1.calls) == (3, [])


async def test_a_rejected_token_does_not_settle_what_became_of_an_attempt_before(
    d1: FakeD1, cards: D1CardIssuer
) -> None:
    d1.replies = [reply(status=502), reply(status=401), reply(status=409)]

    error = await failure_of(cards.register_card(REGISTER, call()))

    assert kind_of(error) == ("UPSTREAM_UNAVAILABLE", "UNKNOWN")
