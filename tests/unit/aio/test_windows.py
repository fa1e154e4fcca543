"""Work on several things at a time, with the results in order."""

import asyncio
from contextlib import aclosing

import pytest

from gateway.aio.windows import in_order
from tests.unit.http.virtual_time import in_virtual_time


class Work:
    """Takes as many seconds as its thing says."""

    def __init__(self) -> None:
        self.running = self.most = self.cancelled = 0
        self.begun: list[int] = []

    async def __call__(self, seconds: int) -> int:
        self.begun.append(seconds)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if seconds == 99:
            raise RuntimeError
        return 10 * seconds


@pytest.mark.parametrize("size", [1, 3, 20])
def test_results_come_in_order_however_long_each_takes(size: int) -> None:
    async def story() -> None:
        work, things = Work(), [3, 1, 2, 5, 1, 1, 4]
        assert [each async for each in in_order(things, work, size)] == [(thing, 10 * thing) for thing in things]
        assert work.most == min(size, len(things))
        assert work.begun == things

    in_virtual_time(story())


def test_of_nothing_nothing_comes() -> None:
    async def story() -> None:
        nothing: list[int] = []
        assert [each async for each in in_order(nothing, Work(), 3)] == []

    in_virtual_time(story())


def test_who_leaves_or_fails_cancels_what_is_begun() -> None:
    async def story() -> None:
        work = Work()
        async with aclosing(in_order([1, 50, 50, 50], work, 3)) as results:
            async for _ in results:
                break
        assert (work.running, work.cancelled, len(work.begun)) == (0, 2, 3)
        with pytest.raises(RuntimeError):
            _ = [each async for each in in_order([99, 200, 200], work, 3)]
        assert (work.running, work.cancelled) == (0, 4)

    in_virtual_time(story())
