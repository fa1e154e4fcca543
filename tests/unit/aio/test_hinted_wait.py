import asyncio

import pytest

from gateway.aio.hinted_wait import wait_until_found
from tests.unit.http.virtual_time import in_virtual_time


def found_after(stored_at: float, hinted_at: float | None, seconds: float) -> tuple[float, str | None]:
    """Wait for a value; return when the wait was over, and its outcome."""

    async def story() -> tuple[float, str | None]:
        loop = asyncio.get_running_loop()
        began, hint = loop.time(), asyncio.Event()
        if hinted_at is not None:
            loop.call_at(began + hinted_at, hint.set)

        async def find() -> str | None:
            return "value" if loop.time() >= began + stored_at else None

        found = await wait_until_found(find, hint, seconds)
        return round(loop.time() - began, 6), found

    return in_virtual_time(story())


@pytest.mark.parametrize(
    ("stored_at", "hinted_at", "over_at"),
    [
        pytest.param(0, None, 0, id="there already"),
        pytest.param(0.5, 0.5, 0.5, id="hinted at when it is there"),
        pytest.param(0.51, 0.5, 0.52, id="hinted at too early"),
        pytest.param(0.79, 0.5, 0.8, id="hinted at far too early"),
        pytest.param(1.5, None, 2, id="without a hint"),
        pytest.param(1.5, 0.1, 2.36, id="a hint at something else"),
        pytest.param(2.4, None, 2.5, id="in the last second"),
    ],
)
def test_a_value_is_found_soon_after_a_hint_and_within_a_second_without_one(
    stored_at: float, hinted_at: float | None, over_at: float
) -> None:
    assert found_after(stored_at, hinted_at, 2.5) == (over_at, "value")


def test_the_wait_ends_when_its_time_is_over_whatever_was_hinted_at() -> None:
    assert found_after(9, 0.1, 2.5) == (2.5, None)
    assert found_after(9, None, 0) == (0, None)
