"""Random lives of one broker."""

from random import Random

from gateway.callbacks.tokens import CallbackTokens
from tests.unit.callbacks.broker_samples import a_reply
from tests.unit.callbacks.broker_watch import WatchedBroker
from tests.unit.callbacks.random_lives import SHARED_ACTIONS, Schedule, Step, steps

__all__ = ["schedule_of"]

_TICK = 0.125
"""Seconds. Times are multiples of it, so that halves of halves are exact and meet each other and the deadlines."""


def schedule_of(seed: int) -> Schedule:
    """Make the schedule of a seed."""
    random = Random(seed)  # noqa: S311 # the same schedule each time
    return Schedule(WatchedBroker, steps(random, _ACTIONS, most=30))


def _reply_unknown(watch: WatchedBroker, step: Step) -> None:
    if watch.peers:
        peer = watch.peers[step.pick % len(watch.peers)]
        # Of another broker, so with a key that is not this one's; and a right one, spoilt.
        foreign = CallbackTokens().make(watch.clock.time() + 1)
        tokens = ["none", foreign, *(f"{request.token}." for request in watch.requests if request.token)]
        watch.reply_unknown(peer, a_reply(tokens[step.option % len(tokens)]))


def _pass(watch: WatchedBroker, step: Step) -> None:
    watch.let_pass(watch.clock.time() + _TICK * (1 + step.pick % 16))


def _arrive(watch: WatchedBroker, _: Step) -> None:
    """Stand at the very time when something is due, before it happens."""
    next_time = watch.clock.next_time
    if next_time is not None and not watch.clock.is_behind:
        watch.stall(next_time)


def _stall(watch: WatchedBroker, step: Step) -> None:
    watch.stall(watch.clock.time() + _TICK * (1 + step.pick % 32))


def _turn(watch: WatchedBroker, _: Step) -> None:
    watch.let_pass(watch.clock.time())


_ACTIONS = {**SHARED_ACTIONS, _reply_unknown: 1, _pass: 3, _arrive: 2, _stall: 1, _turn: 1}
