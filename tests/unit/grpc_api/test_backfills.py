"""Backfills that callers order: what they are told, and how a backfill ends."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

import pytest

from gateway.backfill.backfill import Backfill
from gateway.errors import GatewayError
from gateway.grpc_api.services.backfills import OrderedBackfills
from gateway.logging import correlation
from issuer.common.v1 import error_pb2
from issuer.notification.v1.messages_pb2 import BackfillNotificationsResponse
from tests.fakes import ISSUER, FakeEventLog, an_event
from tests.unit.backfill.histories import FakeOperationHistory, an_operation
from tests.unit.http.virtual_time import in_virtual_time

CARDS = ("card-1", "card-2", "card-3")
RATE_LIMITED = error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED
_T = TypeVar("_T")


class Scene:
    """Backfills of a history with one operation on each of three cards, by default one call a second."""

    def __init__(self, calls_per_second: float = 1) -> None:
        self.history, self.log = FakeOperationHistory(), FakeEventLog()
        for number, card_id in enumerate(CARDS, start=1):
            self.history.cards[card_id].append(an_operation(number))
        backfill = Backfill(self.history, self.log, calls_per_second=calls_per_second, retention_seconds=1)
        self.backfills = OrderedBackfills(backfill)

    def run(self, *card_ids: str) -> AsyncGenerator[BackfillNotificationsResponse, None]:
        return self.backfills.run(ISSUER, card_ids or CARDS, 0)

    async def told(self, *card_ids: str) -> list[str]:
        """Run a backfill to its end, and return what was told of each card and pause."""
        return [_in_words(message) async for message in self.run(*card_ids)]


def _in_words(message: BackfillNotificationsResponse) -> str:
    if message.HasField("pause"):
        return error_pb2.ErrorReason.Name(message.pause.reason).removeprefix("ERROR_REASON_")
    return f"{message.card.card_id} {message.card.recovered_count}"


def played(story: Callable[[Scene], Awaitable[_T]], calls_per_second: float = 1) -> _T:
    async def play() -> _T:
        return await story(Scene(calls_per_second))

    return in_virtual_time(play())


def test_each_card_is_told_as_soon_as_it_is_done_and_in_the_order_asked_for() -> None:
    async def story(scene: Scene) -> Sequence[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        scene.log.put(an_event(2, card_id="card-2"))
        return [(_in_words(message), loop.time()) async for message in scene.run("card-3", "card-2", "card-1")]

    words, times = zip(*played(story), strict=True)
    assert words == ("card-3 1", "card-2 0", "card-1 1")
    assert [later - times[0] for later in times] == [0, 1, 2]


def test_a_pause_is_told_when_it_begins_and_the_card_follows() -> None:
    async def story(scene: Scene) -> Sequence[tuple[str, float]]:
        scene.history.fail(RATE_LIMITED, retry_after_seconds=30)
        begin = asyncio.get_running_loop().time()
        return [(_in_words(each), asyncio.get_running_loop().time() - begin) async for each in scene.run("card-1")]

    assert played(story) == [("UPSTREAM_RATE_LIMITED", 0), ("card-1 1", 30)]


def test_a_pause_that_another_backfill_of_the_issuer_has_caused_is_told_too() -> None:
    async def story(scene: Scene) -> list[str]:
        scene.history.fail(RATE_LIMITED, retry_after_seconds=30)
        other = asyncio.create_task(scene.told("card-1"))
        await asyncio.sleep(1)
        told = await scene.told("card-2")
        await other
        return told

    assert played(story) == ["UPSTREAM_RATE_LIMITED", "card-2 1"]


def test_a_caller_that_does_not_read_is_told_of_the_latest_pause_only() -> None:
    async def story(scene: Scene) -> list[str]:
        scene.history.fail(RATE_LIMITED, times=20)
        running = scene.run()
        first = await anext(running)
        await asyncio.sleep(3600)
        return [_in_words(first)] + [_in_words(message) async for message in running]

    assert played(story) == ["UPSTREAM_RATE_LIMITED", "UPSTREAM_RATE_LIMITED", "card-1 1", "card-2 1", "card-3 1"]


def test_a_card_that_failed_has_the_error_with_the_correlation_id_of_the_rpc_and_the_others_go_on() -> None:
    async def story(scene: Scene) -> list[BackfillNotificationsResponse]:
        correlation.use("of-the-rpc")
        scene.history.fail(error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND)
        return [message async for message in scene.run("card-1", "card-2")]

    failed, done = played(story)
    detail = failed.card.error.detail
    assert (detail.reason, detail.outcome) == (
        error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND,
        error_pb2.ERROR_OUTCOME_REJECTED,
    )
    assert (failed.card.error.message, detail.correlation_id) == ("Failed.", "of-the-rpc")
    assert (done.card.recovered_count, done.card.HasField("error")) == (1, False)


@pytest.mark.parametrize("times", [1, 2])
def test_draining_ends_a_backfill_after_what_is_done_and_begins_no_other(times: int) -> None:
    async def story(scene: Scene) -> None:
        running = scene.run()
        assert _in_words(await anext(running)) == "card-1 1"
        await asyncio.sleep(1.5)
        for _ in range(times):
            scene.backfills.drain()
        assert _in_words(await anext(running)) == "card-2 1"
        for ended, outcome in (
            (running, error_pb2.ERROR_OUTCOME_UNKNOWN),
            (scene.run(), error_pb2.ERROR_OUTCOME_NOT_SENT),
        ):
            with pytest.raises(GatewayError) as caught:
                await anext(ended)
            assert (caught.value.reason, caught.value.outcome) == (error_pb2.ERROR_REASON_SERVER_DRAINING, outcome)
        await asyncio.sleep(10)
        assert [card_id for card_id, _ in scene.history.calls] == ["card-1", "card-2"]

    played(story)


def test_draining_after_the_last_card_ends_a_backfill_as_if_nothing_had_happened() -> None:
    async def story(scene: Scene) -> list[str]:
        running = scene.run("card-1", "card-2")
        first = await anext(running)
        await asyncio.sleep(10)
        scene.backfills.drain()
        return [_in_words(first)] + [_in_words(message) async for message in running]

    assert played(story) == ["card-1 1", "card-2 1"]


def test_a_caller_that_leaves_ends_its_backfill() -> None:
    async def story(scene: Scene) -> None:
        async with aclosing(scene.run()) as running:
            await anext(running)
        await asyncio.sleep(10)
        assert [card_id for card_id, _ in scene.history.calls] == ["card-1"]

    played(story)


def test_a_fault_of_the_gateway_is_raised() -> None:
    async def story(scene: Scene) -> None:
        def broken(_: object) -> None:
            raise ZeroDivisionError

        scene.log.append = broken  # type: ignore[assignment, method-assign]
        with pytest.raises(ZeroDivisionError):
            await scene.told()

    played(story)


@pytest.mark.parametrize(("calls_per_second", "response_seconds"), [(5, 0.2), (50, 0.02), (50, 0.2)])
def test_a_platform_that_responds_in_time_is_asked_at_the_full_rate(
    calls_per_second: float, response_seconds: float
) -> None:
    async def story(scene: Scene) -> float:
        scene.history.seconds = response_seconds
        started = asyncio.get_running_loop().time()
        await scene.told(*(f"card-{number}" for number in range(200)))
        return 200 / (asyncio.get_running_loop().time() - started)

    assert played(story, calls_per_second) == pytest.approx(calls_per_second, rel=0.05)
