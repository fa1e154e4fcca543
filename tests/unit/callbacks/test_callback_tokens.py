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


def test_a_token_is_unknown_under_another_key() -> None:
    assert CallbackTokens().deadline(CallbackTokens().make(1000.0)) is None


def test_the_same_key_recognises_its_token() -> None:
    def key_and_nonce(count: int) -> bytes:
        return bytes(count)

    assert CallbackTokens(key_and_nonce).deadline(CallbackTokens(key_and_nonce).make(1000.0)) == 1000.0


@pytest.mark.parametrize(
    "garbage",
    ["", "x", "=", "====", "A" * 47, "A" * 48, "A" * 128, "é" * 48, "\ud800", "\N{PILE OF POO}", "\0", "not base64!"],
)
def test_garbage_is_unknown(garbage: str) -> None:
    assert CallbackTokens().deadline(garbage) is None


def test_a_token_that_was_changed_in_any_place_is_unknown() -> None:
    tokens = CallbackTokens()
    token = tokens.make(1000.0)

    for place, letter in enumerate(token):
        other = "B" if letter == "A" else "A"
        assert tokens.deadline(token[:place] + other + token[place + 1 :]) is None


@pytest.mark.parametrize("length", range(48))
def test_a_truncated_token_is_unknown(length: int) -> None:
    tokens = CallbackTokens()

    assert tokens.deadline(tokens.make(1000.0)[:length]) is None


@pytest.mark.parametrize("spoil", ["{}=", "{}\n", " {}", "{}.", "{}====", "{}AAAA", "AAAA{}", "!{}!"])
def test_a_token_with_something_added_is_unknown(spoil: str) -> None:
    tokens = CallbackTokens()

    assert tokens.deadline(spoil.format(tokens.make(1000.0))) is None


def test_a_token_in_the_other_alphabet_of_base64_is_unknown() -> None:
    tokens = CallbackTokens(lambda count: secrets.token_bytes(1) + b"\xff" * (count - 1))
    token = tokens.make(1000.0)

    assert "_" in token
    assert tokens.deadline(token.replace("_", "/")) is None
