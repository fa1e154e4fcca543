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


def test_a_new_id_is_valid_and_like_no_other() -> None:
    made = {correlation.new() for _ in range(100)}

    assert len(made) == 100
    assert all(correlation.is_valid(each) for each in made)


async def test_each_task_has_its_own_id() -> None:
    async def work(mine: str) -> str:
        correlation.use(mine)
        await asyncio.sleep(0)
        return correlation.current()

    one, two = await asyncio.gather(work("one"), work("two"))

    assert (one, two) == ("one", "two")


async def test_a_task_inherits_the_id_of_the_one_that_starts_it() -> None:
    async def work() -> str:
        return correlation.current()

    async def call() -> str:
        correlation.use("mine")
        return await asyncio.create_task(work())

    assert await asyncio.create_task(call()) == "mine"


async def test_outside_of_any_call_there_is_no_id() -> None:
    assert correlation.current() == ""
