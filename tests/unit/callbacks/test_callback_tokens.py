"""What a token tells of itself, and to whom."""

import secrets
import string

import pytest

from gateway.callbacks.tokens import CallbackTokens


@pytest.mark.parametrize("deadline", [0.0, 0.125, 1000.5, 86_400.0 * 365 * 30 + 0.000001])
def test_a_token_tells_its_deadline_to_the_microsecond(deadline: float) -> None:
    tokens = CallbackTokens()

    assert tokens.deadline(tokens.make(deadline)) == pytest.approx(deadline, abs=2e-6, rel=0)


def test_a_token_never_tells_a_later_deadline_than_the_one_it_was_made_for() -> None:
    tokens = CallbackTokens()

    for number in range(1000):
        deadline = number / 7
        told = tokens.deadline(tokens.make(deadline))
        assert told is not None
        assert told <= deadline


def test_no_two_tokens_are_the_same_even_for_one_deadline() -> None:
    tokens = CallbackTokens()

    assert len({tokens.make(1000.0) for _ in range(1000)}) == 1000


def test_a_token_fits_the_contract_of_a_reply() -> None:
    token = CallbackTokens().make(1e9)

    assert len(token) <= 128
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


def test_only_the_same_key_recognises_a_token() -> None:
    def key_and_nonce(count: int) -> bytes:
        return bytes(count)

    token = CallbackTokens(key_and_nonce).make(1000.0)

    assert CallbackTokens(key_and_nonce).deadline(token) == 1000.0
    assert CallbackTokens().deadline(token) is None


@pytest.mark.parametrize(
    "garbage",
    ["", "x", "=", "====", "A" * 47, "A" * 48, "A" * 128, "é" * 48, "\ud800", "\N{PILE OF POO}", "\0", "not base64!"],
)
def test_garbage_is_unknown(garbage: str) -> None:
    assert CallbackTokens().deadline(garbage) is None


def test_a_token_that_was_changed_in_any_place_is_unknown() -> None:
    tokens = CallbackTokens()
    token = tokens.make(1000.0)
    changed = [f"{token[:place]}{'A' if token[place] == 'B' else 'B'}{token[place + 1 :]}" for place in range(48)]
    truncated = [token[:length] for length in range(48)]
    spoilt = ["{}=", "{}\n", " {}", "{}.", "{}====", "{}AAAA", "AAAA{}", "!{}!"]
    extended = [each.format(token) for each in spoilt]

    assert len(token) == 48
    assert [each for each in changed + truncated + extended if tokens.deadline(each) is not None] == []


def test_a_token_in_the_other_alphabet_of_base64_is_unknown() -> None:
    tokens = CallbackTokens(lambda count: secrets.token_bytes(1) + b"\xff" * (count - 1))
    token = tokens.make(1000.0)

    assert "_" in token
    assert tokens.deadline(token.replace("_", "/")) is None
