"""What a backfill of a card appends, how it reads, and when it pauses."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from gateway.backfill import history
from gateway.backfill.backfill import Backfill, CardResult
from gateway.backfill.budget import Pause
from gateway.errors import GatewayError
from gateway.ports import Event
from issuer.common.v1 import error_pb2
from issuer.notification.v1.messages_pb2 import Notification
from issuer.threeds.v1 import operation_pb2 as threeds
from tests.fakes import ISSUER, FakeEventLog, an_event
from tests.unit.backfill.histories import FakeOperationHistory, an_operation
from tests.unit.http.virtual_time import in_virtual_time

CARD = "card-1"
NOW_SECONDS = 1_000_000
RETENTION_SECONDS = 900_000
_T = TypeVar("_T")


class Scene:
    """A history, an event log, and the backfill between them; it has a virtual clock."""

    def __init__(self, calls_per_second: float = 5) -> None:
        self.history, self.log = FakeOperationHistory(), FakeEventLog()
        self.pauses: list[Pause] = []
        self.results: list[CardResult] = []
        self.backfill = Backfill(
            self.history,
            self.log,
            calls_per_second=calls_per_second,
            retention_seconds=RETENTION_SECONDS,
            on_card=self.results.append,
            now_ns=lambda: NOW_SECONDS * 1_000_000_000,
        )

    async def run(self, since_seconds: int = 0, card_id: str = CARD) -> CardResult:
        return await self.backfill.card(ISSUER, card_id, since_seconds * 1000, self.pauses.append)

    def lists(self, *numbers: int) -> None:
        """Add operations to the history of the card."""
        self.history.cards[CARD] += map(an_operation, numbers)

    def stored(self) -> list[str]:
        """Return the ids of the stored operations, in the order of the log, recovered ones with a star."""
        return [_id(stored.event) for stored in self.log.held]


def _id(event: Event) -> str:
    notification = Notification.FromString(event.payload)
    return notification.three_ds_operation.operation_id + "*" * notification.recovered


def played(story: Callable[[Scene], Awaitable[_T]], calls_per_second: float = 5) -> _T:
    async def play() -> _T:
        return await story(Scene(calls_per_second))

    return in_virtual_time(play())


def test_what_the_log_lacks_is_appended_oldest_first_and_what_it_has_is_not() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(1, 2, 3, 4, 5)
        for number in (2, 4):
            scene.log.put(an_event(number))
        result = await scene.run()
        assert scene.stored() == ["op-2", "op-4", "op-1*", "op-3*", "op-5*"]
        assert scene.results == [result]
        return result

    assert played(story) == CardResult(5, 3, 0, 0)


def test_a_recovered_notification_has_the_time_and_the_correlation_id_of_its_fetch() -> None:
    async def story(scene: Scene) -> Notification:
        scene.lists(7)
        await scene.run()
        (stored,) = scene.log.held
        assert stored.event.receive_time_ms == NOW_SECONDS * 1000
        return Notification.FromString(stored.event.payload)

    recovered = played(story)
    assert recovered.receive_time.seconds == NOW_SECONDS
    assert (recovered.issuer_id, recovered.card_id, recovered.consumer_id) == (ISSUER, CARD, "consumer-1")
    assert recovered.three_ds_operation == an_operation(7)
    assert recovered.recovered
    assert recovered.correlation_id


def test_a_second_backfill_appends_nothing() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(1, 2)
        await scene.run()
        return await scene.run()

    assert played(story) == CardResult(2, 0, 0, 0)


def test_a_card_without_operations_has_an_empty_result() -> None:
    assert played(lambda scene: scene.run()) == CardResult(0, 0, 0, 0)


def test_all_pages_are_read_that_reach_back_to_the_time_although_newer_ones_are_known() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(*range(1, 201))
        for number in range(101, 201):
            scene.log.put(an_event(number))
        result = await scene.run(since_seconds=60)
        assert [offset for _, offset in scene.history.calls] == [0, 10, 60, 110]
        assert scene.stored()[100:] == [f"op-{number}*" for number in range(60, 101)]
        return result

    assert played(story) == CardResult(141, 41, 0, 0)


def test_operations_that_arrive_between_pages_hide_none() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(*range(1, 121))
        scene.history.arriving = [an_operation(number) for number in range(121, 124)]
        result = await scene.run()
        assert scene.stored() == [f"op-{number}*" for number in range(1, 122)]
        return result

    assert played(story) == CardResult(121, 121, 0, 0)


def test_operations_that_fill_more_than_a_page_as_they_arrive_are_no_endless_history() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(*range(1, 61))
        scene.history.arriving_at_once = [an_operation(number) for number in range(61, 181)]
        result = await scene.run()
        assert scene.stored() == [f"op-{number}*" for number in range(1, 171)]
        return result

    # Of those that arrived, 120, a later page has what the first page would have had no room for.
    assert played(story) == CardResult(170, 170, 0, 0)


def test_operations_out_of_order_within_a_page_are_all_found() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(10, 12, 3, 11, 13)
        return await scene.run(since_seconds=10)

    assert played(story) == CardResult(4, 4, 0, 0)


def test_an_operation_without_a_time_counts_with_its_newer_neighbour() -> None:
    async def story(scene: Scene) -> list[str]:
        scene.lists(1)
        scene.history.cards[CARD] += [an_operation(2, second=0), an_operation(5), an_operation(4, second=0)]
        scene.history.cards[CARD] += [an_operation(20)]
        await scene.run(since_seconds=10)
        return scene.stored()

    assert played(story) == ["op-4*", "op-20*"]


def test_an_operation_without_an_id_is_counted_and_the_others_are_appended() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.history.cards[CARD] += [an_operation(1), an_operation(2, operation_id=""), an_operation(3)]
        result = await scene.run()
        assert scene.stored() == ["op-1*", "op-3*"]
        return result

    assert played(story) == CardResult(3, 2, 0, 1)


def test_a_state_that_differs_from_the_notified_one_is_appended_and_counted() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.log.put(an_event(1, status=threeds.THREE_DS_OPERATION_STATUS_FAILED))
        scene.lists(1, 2)
        result = await scene.run()
        assert scene.stored() == ["op-1", "op-1*", "op-2*"]
        return result

    assert played(story) == CardResult(2, 2, 1, 0)


def test_nothing_is_fetched_from_before_what_retention_has_left() -> None:
    async def story(scene: Scene) -> list[str]:
        for number in (100, 1000):
            scene.log.put(an_event(number))
        scene.lists(100, 200, 1000, 1200, 1301, 1400)
        scene.log.trim(1)
        await scene.run()
        return scene.stored()

    # Five minutes for the difference of two clocks.
    assert played(story) == ["op-1000", "op-1301*", "op-1400*"]


def test_an_empty_log_that_retention_has_emptied_gets_what_is_younger_than_retention() -> None:
    async def story(scene: Scene) -> list[str]:
        scene.log.put(an_event(1))
        scene.log.trim(1)
        oldest = NOW_SECONDS - RETENTION_SECONDS
        scene.lists(oldest - 1, oldest)
        await scene.run()
        return scene.stored()

    assert played(story) == [f"op-{NOW_SECONDS - RETENTION_SECONDS}*"]


@pytest.mark.parametrize("skipped", [False, True])
def test_damaged_notifications_at_the_begin_of_the_log_do_not_stop_it(*, skipped: bool) -> None:
    async def story(scene: Scene) -> list[str]:
        for number in (100, 400, 500):
            scene.log.put(an_event(number))
        scene.log.trim(1)
        scene.log.damaged[2] = skipped
        scene.lists(799, 800)
        await scene.run()
        return scene.stored()

    assert played(story)[2:] == ["op-800*"]


def test_calls_are_in_the_background_and_spaced_by_the_budget_of_their_issuer() -> None:
    async def story(scene: Scene) -> float:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(scene.run(card_id=f"card-{number}") for number in range(11)))
        assert scene.history.backgrounds == {True}
        return asyncio.get_running_loop().time() - started

    assert played(story) == pytest.approx(2.0)


LASTING = (
    error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
    error_pb2.ERROR_REASON_UPSTREAM_CIRCUIT_OPEN,
    error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
    error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE,
    error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION,
    error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
)


@pytest.mark.parametrize("reason", LASTING, ids=error_pb2.ErrorReason.Name)
def test_it_waits_as_long_as_nothing_can_be_read(reason: "error_pb2.ErrorReason.ValueType") -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(1)
        scene.history.fail(reason, times=9)
        result = await scene.run()
        assert [pause.seconds for pause in scene.pauses] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert {pause.reason for pause in scene.pauses} == {reason}
        return result

    assert played(story) == CardResult(1, 1, 0, 0)


def test_a_pause_that_is_asked_for_stops_all_backfills_of_the_issuer_and_no_other() -> None:
    async def story(scene: Scene) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        scene.history.fail(error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, retry_after_seconds=100)
        first = asyncio.create_task(scene.run())
        await asyncio.sleep(0.1)
        pause = scene.backfill.budget(ISSUER).current_pause
        assert pause is not None
        assert pause.reason == error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED
        assert pause.seconds == pytest.approx(99.9)
        await scene.backfill.card("ISSUER0002", CARD, 0)
        assert loop.time() - started < 1
        await scene.run(card_id="card-2")
        await first
        assert loop.time() - started == pytest.approx(100, abs=1)
        assert scene.backfill.budget(ISSUER).current_pause is None
        assert len(scene.history.calls) == 4

    played(story)


@pytest.mark.parametrize(
    "reason",
    [
        error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE,
        error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
        error_pb2.ERROR_REASON_UPSTREAM_FAILED,
    ],
    ids=error_pb2.ErrorReason.Name,
)
def test_a_fault_that_may_be_the_cards_is_reported_after_three_attempts(
    reason: "error_pb2.ErrorReason.ValueType",
) -> None:
    async def story(scene: Scene) -> CardResult:
        scene.history.fail(reason, times=3)
        result = await scene.run()
        assert len(scene.history.calls) == 3
        return result

    error = played(story).error
    assert error is not None
    assert error.reason == reason


def test_an_outage_takes_no_attempt_from_the_faults_that_may_be_the_cards() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(1)
        # More than a weekend, with a pause of a minute each.
        scene.history.fail(error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE, times=3000)
        scene.history.fail(error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE, times=2)
        return await scene.run()

    assert played(story) == CardResult(1, 1, 0, 0)


def test_what_is_not_sent_says_nothing_about_the_card() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(1)
        # Other calls have all connections.
        busy = error_pb2.ERROR_REASON_DEADLINE_EXCEEDED, error_pb2.ERROR_OUTCOME_NOT_SENT
        scene.history.failures = [GatewayError(busy[0], "Busy.", outcome=busy[1])] * 9
        return await scene.run()

    assert played(story) == CardResult(1, 1, 0, 0)


def test_an_unknown_card_is_reported_at_once() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.history.fail(error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND)
        result = await scene.run()
        assert scene.pauses == []
        return result

    error = played(story).error
    assert error is not None
    assert error.reason == error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND


def test_what_was_read_before_a_page_that_cannot_be_read_is_appended_and_the_page_reported() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(*range(1, 71))
        scene.history.unreadable_offset = 60
        return await scene.run()

    result = played(story)
    assert result[:4] == (60, 60, 0, 0)
    assert result.error is not None


def test_pages_that_never_end_are_reported() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(*range(1, 101))
        scene.history.ignores_offset = True
        return await scene.run()

    result = played(story)
    assert result[:4] == (50, 50, 0, 0)
    assert result.error is not None
    assert result.error.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT


def test_an_offset_that_is_ignored_is_noticed_although_an_operation_has_no_id() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.history.cards[CARD] += [an_operation(1, operation_id=""), an_operation(2)]
        scene.history.ignores_offset = True
        result = await scene.run()
        assert len(scene.history.calls) < 30
        return result

    assert played(story)[:4] == (2, 1, 0, 1)


def test_a_page_without_any_time_does_not_make_the_whole_history_recent() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.history.cards[CARD] += [an_operation(number, second=0) for number in range(200)]
        return await scene.run(since_seconds=NOW_SECONDS - 60)

    result = played(story)
    assert result.recovered_count == 0
    assert result.error is not None
    assert result.error.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT


def test_a_history_that_is_too_large_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_MAX_BYTES", 100)

    async def story(scene: Scene) -> CardResult:
        scene.lists(*range(1, 201))
        return await scene.run()

    result = played(story)
    assert result.operation_count == 10
    assert result.error is not None
    assert result.error.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT


def test_what_retention_removes_while_pages_are_read_is_not_appended_again() -> None:
    async def story(scene: Scene) -> list[str]:
        for number in (1000, 2000):
            scene.log.put(an_event(number))
        scene.lists(1000, 2000, 2400)
        scene.history.fail(error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, retry_after_seconds=100)
        running = asyncio.create_task(scene.run())
        await asyncio.sleep(50)
        scene.log.trim(1)
        await running
        return scene.stored()

    assert played(story) == ["op-2000", "op-2400*"]


def test_a_log_that_fails_is_waited_for_and_nothing_is_appended_twice() -> None:
    async def story(scene: Scene) -> list[str]:
        scene.lists(1, 2, 3)
        scene.log.fail()
        running = asyncio.create_task(scene.run())
        await asyncio.sleep(20)
        assert {pause.reason for pause in scene.pauses} == {error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE}
        scene.log.recover()
        assert await running == CardResult(3, 3, 0, 0)
        return scene.stored()

    assert played(story) == ["op-1*", "op-2*", "op-3*"]


def test_what_was_stored_before_the_log_failed_is_counted() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(1, 2, 3)

        async def fail_after_two() -> None:
            while len(scene.log.held) < 2:  # noqa: ASYNC110  a turn of the log
                await asyncio.sleep(0)
            scene.log.fail()
            await asyncio.sleep(5)
            scene.log.recover()

        _, result = await asyncio.gather(fail_after_two(), scene.run())
        assert scene.stored() == ["op-1*", "op-2*", "op-3*"]
        assert scene.pauses
        return result

    assert played(story) == CardResult(3, 3, 0, 0)


def test_an_operation_larger_than_any_notification_is_reported_and_the_others_are_appended() -> None:
    async def story(scene: Scene) -> CardResult:
        scene.lists(1, 2, 3)
        # No log that takes no more would ever take it, and the backfill would wait for it for ever.
        scene.history.cards[CARD][1].unrecognized["field"] = "x" * 600_000
        result = await scene.run()
        assert scene.stored() == ["op-1*", "op-3*"]
        return result

    result = played(story)
    assert result[:4] == (3, 2, 0, 0)
    assert result.error is not None
    assert result.error.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
    assert "op-2" in result.error.message


@pytest.mark.parametrize(("calls_per_second", "in_flight"), [(0.5, 1), (5, 1), (5.1, 2), (50, 10)])
def test_a_slow_platform_has_few_calls_in_flight(calls_per_second: float, in_flight: int) -> None:
    async def story(scene: Scene) -> int:
        scene.history.seconds = 30
        cards = [asyncio.create_task(scene.run(card_id=f"card-{number}")) for number in range(20)]
        await asyncio.sleep(29)
        calls = len(scene.history.calls)
        await asyncio.gather(*cards)
        assert len(scene.history.calls) == 20
        return calls

    assert played(story, calls_per_second) == in_flight
