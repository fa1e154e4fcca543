"""A queue before a limited number of places."""

import asyncio

import pytest

from adapters.http.admission import AdmissionQueue
from tests.unit.http.virtual_time import in_virtual_time


def _soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def test_places_are_given_in_order_of_arrival() -> None:
    async def story() -> list[int]:
        queue, served = AdmissionQueue(2, 100), []

        async def visit(number: int) -> None:
            await queue.enter(_soon(60))
            served.append(number)
            await asyncio.sleep(1)
            queue.leave()

        await asyncio.gather(*(visit(number) for number in range(9)))
        return served

    assert in_virtual_time(story()) == list(range(9))


def test_never_more_than_its_places_are_inside_whoever_leaves_the_queue() -> None:
    async def story() -> tuple[int, int]:
        queue, inside, most, served = AdmissionQueue(3, 100), 0, 0, 0

        async def visit(seconds: float) -> None:
            nonlocal inside, most, served
            await queue.enter(_soon(60))
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(seconds)
            finally:
                inside -= 1
                queue.leave()
            served += 1

        visits = [asyncio.create_task(visit(number % 5)) for number in range(30)]
        await asyncio.sleep(3)
        for leaving in visits[::4]:
            leaving.cancel()
        ends = await asyncio.gather(*visits, return_exceptions=True)
        assert served == sum(end is None for end in ends)
        return most, served

    assert in_virtual_time(story()) == (3, 23)


def test_the_wait_ends_with_the_deadline_and_the_place_goes_to_the_next() -> None:
    async def story() -> None:
        queue = AdmissionQueue(1, 100)
        await queue.enter(_soon(60))
        with pytest.raises(TimeoutError):
            await queue.enter(_soon(2))
        next_one = asyncio.create_task(queue.enter(_soon(60)))
        await asyncio.sleep(1)
        assert not next_one.done()
        queue.leave()
        await next_one

    in_virtual_time(story())


def test_whoever_leaves_the_queue_makes_room_in_it() -> None:
    async def story() -> None:
        queue = AdmissionQueue(1, 1)
        await queue.enter(_soon(60))
        waiting = asyncio.create_task(queue.enter(_soon(60)))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(TimeoutError):
            await queue.enter(_soon(1))

    in_virtual_time(story())


def test_a_call_in_the_background_gets_a_place_when_nobody_else_waits_whoever_came_first() -> None:
    async def story() -> list[str]:
        queue, served = AdmissionQueue(2, 100), []

        async def visit(name: str, *, is_last: bool = False) -> None:
            await (queue.enter_last(_soon(60)) if is_last else queue.enter(_soon(60)))
            served.append(name)
            await asyncio.sleep(1)
            queue.leave()

        async def visits() -> None:
            async with asyncio.TaskGroup() as tasks:
                for name in ("first", "second", "background", "third", "fourth", "another background"):
                    tasks.create_task(visit(name, is_last="background" in name))
                    await asyncio.sleep(0)
                # While those of before are served, and those in the background wait.
                await asyncio.sleep(1.5)
                tasks.create_task(visit("fifth"))

        await visits()
        return served

    served = in_virtual_time(story())
    assert served[:4] == ["first", "second", "third", "fourth"]
    assert sorted(served[4:]) == ["another background", "background", "fifth"]
    assert served[4] == "fifth"


def test_a_call_in_the_background_waits_no_longer_than_its_deadline_and_fills_no_queue() -> None:
    async def story() -> None:
        queue = AdmissionQueue(1, 1)
        await queue.enter(_soon(1))
        waiting = [asyncio.create_task(queue.enter_last(_soon(2))) for _ in range(3)]
        await asyncio.sleep(1)
        assert queue.waiting_count == 0
        live = asyncio.create_task(queue.enter(_soon(5)))
        await asyncio.sleep(2)
        assert [type(each.exception()) for each in waiting] == [TimeoutError] * 3
        queue.leave()
        await live

    in_virtual_time(story())
