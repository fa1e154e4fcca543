"""Random lives: made from a seed, played, and cut down to what is needed to fail."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple, TypeAlias

import pytest
from coverage import Coverage

from gateway.callbacks.broker import Topic
from gateway.ports import Attempts
from tests.unit.callbacks.broker_samples import TOPICS, a_refusal, a_reply
from tests.unit.callbacks.watch import BrokenPromiseError, Watch

__all__ = ["SHARED_ACTIONS", "Action", "Lives", "Schedule", "Step", "steps"]

_MAX_REQUESTS = 8
_SECONDS = (0.5, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0)
_PICK_BITS = 12

AnyWatch: TypeAlias = Watch[Any, Any]
Action: TypeAlias = Callable[[Any, "Step"], None]


class Step(NamedTuple):
    """An action, and the numbers that choose its target among those that exist when it is done."""

    action: Action
    pick: int
    option: int
    topic: int

    def __str__(self) -> str:
        return f"{self.action.__name__.strip('_')}, pick {self.pick}, option {self.option}, topic {self.topic}"


class Schedule(NamedTuple):
    """What happens to whom."""

    start: Callable[[], AnyWatch]
    steps: Sequence[Step]


class _Failure(NamedTuple):
    promise: str
    message: str
    history: Sequence[str]


def steps(random: Random, weights: Mapping[Action, int], most: int) -> Sequence[Step]:
    """Draw steps by how often each is done, among the others."""
    actions: list[Action] = [connect, begin] * random.randint(0, 2)
    actions += random.choices([action for action in weights for _ in range(weights[action])], k=random.randint(6, most))
    # The fewer topics there are, the more the handlers compete.
    topics = random.choice((1, 1, 2, 4))
    bits = random.getrandbits
    return [Step(action, bits(_PICK_BITS), bits(_PICK_BITS), bits(2) % topics) for action in actions]


class Lives:
    """A number of random lives; environment variables set which: D1_<name>_SEED the first, D1_<name>_SCHEDULES how
    many.
    """

    def __init__(self, name: str, schedule_of: Callable[[int], Schedule], count: int, at_once: int) -> None:
        self._name = name
        self._schedule_of = schedule_of
        self._at_once = at_once
        self._first = int(os.environ.get(f"D1_{name}_SEED", "1"))
        self._end = self._first + int(os.environ.get(f"D1_{name}_SCHEDULES", str(count)))

    @property
    def blocks(self) -> Sequence[int]:
        """The first seeds of blocks so small that each stays far below the time that a test may take."""
        return range(self._first, self._end, self._at_once)

    def check(self, first: int) -> None:
        """Play a block, and report the first life that fails."""
        with _unmeasured():
            for seed in range(first, min(first + self._at_once, self._end)):
                schedule = self._schedule_of(seed)
                if _failure_of(schedule) is not None:
                    pytest.fail(self._report(seed, _shortest(schedule)), pytrace=False)

    def played(self, count: int) -> Iterator[AnyWatch]:
        """Play a number of lives, and return what was seen of each."""
        for seed in range(count):
            schedule = self._schedule_of(seed)
            watch = schedule.start()
            _play(watch, schedule.steps)
            yield watch

    def _report(self, seed: int, schedule: Schedule) -> str:
        failure = _failure_of(schedule)
        assert failure is not None
        again = f"D1_{self._name}_SEED={seed} D1_{self._name}_SCHEDULES=1"
        return "\n".join(
            (
                failure.message,
                f"seed {seed}: {again} plays it again; the least of it that fails, with {schedule.start}:",
                *(f"    {step}" for step in schedule.steps),
                "what happened:",
                *failure.history,
            )
        )


@contextmanager
def _unmeasured() -> Iterator[None]:
    """Do without coverage: it takes longer than the lives, of which the first few hundred reach every line."""
    measuring = Coverage.current()
    if measuring is not None:
        measuring.stop()
    try:
        yield
    finally:
        if measuring is not None:
            measuring.start()


def _play(watch: AnyWatch, steps: Sequence[Step]) -> None:
    for step in steps:
        step.action(watch, step)
        watch.check(step.option)
    watch.finish()


def _failure_of(schedule: Schedule) -> _Failure | None:
    watch = schedule.start()
    try:
        _play(watch, schedule.steps)
    except BrokenPromiseError as error:
        return _Failure(error.promise, str(error), watch.history)
    except Exception as error:  # noqa: BLE001 # whatever the product raises is a failure of the schedule
        return _Failure(type(error).__name__, repr(error), watch.history)
    return None


def _shortest(schedule: Schedule) -> Schedule:
    """Leave out of a failing schedule what it fails without, in the same way."""
    failure = _failure_of(schedule)
    size = len(schedule.steps)
    while failure is not None and size > 0:
        start = 0
        while start < len(schedule.steps):
            fewer = schedule._replace(steps=[*schedule.steps[:start], *schedule.steps[start + size :]])
            shorter = _failure_of(fewer)
            if shorter is not None and shorter.promise == failure.promise:
                schedule = fewer
            else:
                start += size
        size //= 2
    return schedule


def connect(watch: AnyWatch, step: Step) -> None:
    if len(watch.connected) < watch.max_handlers:
        topics = {topic for number, topic in enumerate(TOPICS) if number == step.topic or step.pick >> number & 1}
        watch.connect(step.pick, frozenset(topics), 1 + step.option % 3)


def begin(watch: AnyWatch, step: Step) -> None:
    if len(watch.requests) < _MAX_REQUESTS:
        seconds = _SECONDS[step.pick % len(_SECONDS)]
        attempts = Attempts(1 + step.pick // len(_SECONDS) % 4, 1 + step.pick // len(_SECONDS) // 4 % 3)
        watch.begin(
            step.option // 4,
            TOPICS[step.topic],
            seconds,
            attempts=attempts,
            wait_for_handler=step.option % 4 != 0,
        )


def _reply(watch: AnyWatch, step: Step) -> None:
    """Reply to what one has."""
    _reply_held(watch, step, lambda topic: "refusal" if step.option % 8 == 0 else topic[1])


def _reply_wrong(watch: AnyWatch, step: Step) -> None:
    _reply_held(watch, step, lambda topic: "authenticate" if topic[1] == "deliver_otp" else "deliver_otp")


def _reply_held(watch: AnyWatch, step: Step, kind_for: Callable[[Topic], str]) -> None:
    if held := [(peer, request) for peer in watch.peers for request in peer.held.values()]:
        peer, request = held[step.pick % len(held)]
        kind = kind_for(request.topic)
        watch.reply(peer, request, a_refusal(request.token) if kind == "refusal" else a_reply(request.token, kind))


def _reply_elsewhere(watch: AnyWatch, step: Step) -> None:
    """Reply to what somebody has, over a stream that is not registered for it."""
    if held := [request for peer in watch.peers for request in peer.held.values()]:
        request = held[step.pick % len(held)]
        if others := [peer for peer in watch.repliers if request.topic not in peer.topics]:
            watch.reply(others[step.option % len(others)], request, a_reply(request.token, request.topic[1]))


def _reply_again(watch: AnyWatch, step: Step) -> None:
    """Reply as any handler to any callback request that was ever sent."""
    sent, repliers = [request for request in watch.requests if request.token], watch.repliers
    if sent and repliers:
        request = sent[step.pick % len(sent)]
        watch.reply(repliers[step.option % len(repliers)], request, a_reply(request.token, request.topic[1]))


def _drain(watch: AnyWatch, step: Step) -> None:
    if serving := [peer for peer in watch.peers if peer.serves]:
        watch.drain(serving[step.pick % len(serving)])


def _disconnect(watch: AnyWatch, step: Step) -> None:
    if connected := watch.connected:
        watch.disconnect(connected[step.pick % len(connected)])


def _abandon(watch: AnyWatch, step: Step) -> None:
    if abandonable := watch.abandonable:
        watch.abandon(abandonable[step.pick % len(abandonable)])


def _next(watch: AnyWatch, _: Step) -> None:
    """Let time pass until something is due, and let it happen: most of that is at deadlines and halves."""
    if (next_time := watch.clock.next_time) is not None:
        watch.let_pass(max(next_time, watch.clock.time()))


SHARED_ACTIONS: Mapping[Action, int] = {
    connect: 5,
    begin: 10,
    _reply: 8,
    _reply_again: 4,
    _reply_elsewhere: 6,
    _reply_wrong: 2,
    _drain: 2,
    _disconnect: 4,
    _abandon: 2,
    _next: 8,
}
"""How often each is done."""
