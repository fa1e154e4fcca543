"""Correlation ids. That calls which run together keep theirs is tested with the interceptors."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.logging import correlation


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_an_id_that_d1_takes_is_valid(given: str) -> None:
    assert correlation.is_valid(given)


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "a.b", "a\n", "ä", "\udcff", "\u0663", 'a"b', "a/b"])
def test_an_id_that_d1_would_not_take_is_invalid(given: str) -> None:
    assert not correlation.is_valid(given)


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda given: given == given.strip() != ""))
def test_an_id_of_the_platform_is_any_text(given: str) -> None:
    assert correlation.received(given) == given


@pytest.mark.parametrize("given", ["", " ", "\t"])
def test_who_sends_no_id_gets_a_new_one(given: str) -> None:
    assert correlation.is_valid(correlation.received(given))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain-1", "plain-1"),
        ("a.b \u00e4", "a.b \u00e4"),
        ("2022.06.16 06:28:02.492", "2022.06.16 06:28:02.492"),
        ("a\tb\x1b\u2028", "a?b??"),
        ("x" * 500, "x" * 128),
        ("x" * 120 + " 4716920538164073", "x" * 120 + " ****"),
        ("card 4716 9205 3816 4073.", "card ****."),
    ],
)
async def test_logs_show_of_an_id_what_can_be_printed(given: str, shown: str) -> None:
    correlation.use(given)

    assert (correlation.current(), correlation.current_printable()) == (given, shown)


def test_a_new_id_is_valid_and_like_no_other() -> None:
    made = {correlation.new() for _ in range(100)}

    assert (len(made), {correlation.is_valid(each) for each in made}) == (100, {True})


async def test_a_task_has_no_id_but_its_own_or_that_of_the_one_that_starts_it() -> None:
    async def current() -> str:
        return correlation.current()

    async def call() -> str:
        correlation.use("mine")
        return await asyncio.create_task(current())

    assert (await asyncio.create_task(call()), await asyncio.create_task(current())) == ("mine", "")
