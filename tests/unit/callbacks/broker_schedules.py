"""Random schedules for a broker: made from a seed, played, and cut down to what is needed to fail."""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from gateway.callback_tokens import CallbackTokens
from tests.unit.callbacks.broker_samples import TOPICS, a_refusal, a_reply
from tests.unit.callbacks.broker_watch import Asked, BrokenPromiseError, Peer, WatchedBroker

__all__ = ["Failure", "Step", "a_schedule", "failure_of", "play", "shortest"]

_MOST_HANDLERS = 4
_MOST_QUESTIONS = 8
_TICK = 0.125
# A multiple of the tick, so that halves of halves of it are exact and meet each other and the deadlines.
_SECONDS = (1.0, 2.0, 2.0, 4.0, 4.0, 8.0)


class Step(NamedTuple):
    """What is done, and to which of those it can be done to: whoever is there when it comes to it."""

    action: str
    pick: int = 0
    option: int = 0


class Failure(NamedTuple):
    """How a schedule failed."""

    promise: str
    message: str
    history: tuple[str, ...]


_WEIGHTS = {
    "connect": 5,
    "ask": 10,
    "reply": 9,
    "reply_again": 4,
    "reply_wrong": 2,
    "reply_unknown": 1,
    "drain": 2,
    "disconnect": 3,
    "abandon": 2,
    "next": 8,
    "pass": 4,
    "arrive": 2,
    "stall": 1,
    "turn": 1,
}


def a_schedule(seed: int) -> list[Step]:
    """Make the schedule of a seed."""
    random = Random(seed)
    length = random.randint(6, 36)
    actions = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=length)
    # The fewer topics, the more handlers compete.
    mask = random.choice((1, 1, 2, 4)) - 1
    return [Step(action, random.getrandbits(16), random.getrandbits(16) & (mask << 8 | 0xFF)) for action in actions]


def failure_of(seed: int, steps: Sequence[Step]) -> Failure | None:
    """Play a schedule, and tell how it fails; None if every promise is kept."""
    watch = WatchedBroker(seed)
    try:
        play(watch, steps)
    except BrokenPromiseError as error:
        return Failure(error.promise, str(error), tuple(watch.history))
    except Exception as error:  # noqa: BLE001 # whatever the broker raises is a failure of the schedule
        return Failure(type(error).__name__, repr(error), tuple(watch.history))
    return None


def shortest(seed: int, steps: Sequence[Step]) -> list[Step]:
    """Leave out of a failing schedule what it fails without, in the same way."""
    failure = failure_of(seed, steps)
    kept = list(steps)
    size = len(kept)
    while failure is not None and size > 0:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            shorter = failure_of(seed, fewer)
            if shorter is not None and shorter.promise == failure.promise:
                kept = fewer
            else:
                start += size
        size //= 2
    return kept


def play(watch: WatchedBroker, steps: Sequence[Step]) -> None:
    """Do each step, then let all time pass and everybody go.

    Raises:
        BrokenPromiseError: The broker did not keep a promise.
    """
    for step in steps:
        _ACTIONS[step.action](watch, step)
        watch.check()
    watch.let_pass(max((asked.deadline for asked in watch.asked), default=watch.clock.time()))
    watch.check()
    if watch.clock.pending or watch.broker.size[0]:
        raise BrokenPromiseError("nothing is left in the end", f"{watch.clock.pending} timers, {watch.broker.size}")
    for peer in _connected(watch):
        watch.disconnect(peer)
    watch.check()
    if watch.broker.size != (0, 0):
        raise BrokenPromiseError("nothing is left when all are gone", str(watch.broker.size))


def _connected(watch: WatchedBroker) -> list[Peer]:
    return [peer for peer in watch.peers if not peer.is_gone]


def _held(watch: WatchedBroker) -> list[tuple[Peer, Asked]]:
    return [(peer, asked) for peer in watch.peers for asked in peer.held]


def _connect(watch: WatchedBroker, step: Step) -> None:
    if len(_connected(watch)) < _MOST_HANDLERS:
        topics = frozenset(topic for number, topic in enumerate(TOPICS) if step.pick >> number & 1)
        watch.connect(topics or frozenset(TOPICS), 1 + step.option % 3)


def _ask(watch: WatchedBroker, step: Step) -> None:
    if len(watch.asked) < _MOST_QUESTIONS:
        topic = TOPICS[(step.option >> 8) % len(TOPICS)]
        watch.ask(topic, _SECONDS[step.pick % len(_SECONDS)], waits=step.option % 4 != 0)


def _reply(watch: WatchedBroker, step: Step) -> None:
    """Reply to what one has."""
    held = _held(watch)
    if held:
        peer, asked = held[step.pick % len(held)]
        refuses = step.option % 8 == 0
        watch.reply(peer, asked, a_refusal(asked.token) if refuses else a_reply(asked.token, asked.topic[1]))


def _reply_again(watch: WatchedBroker, step: Step) -> None:
    """Reply to anything that was ever sent to anybody, whoever one is."""
    sent = [asked for asked in watch.asked if asked.token]
    if sent:
        peer = watch.peers[step.option % len(watch.peers)]
        asked = sent[step.pick % len(sent)]
        watch.reply(peer, asked, a_reply(asked.token, asked.topic[1]))


def _reply_wrong(watch: WatchedBroker, step: Step) -> None:
    held = _held(watch)
    if held:
        peer, asked = held[step.pick % len(held)]
        wrong = "authenticate" if asked.topic[1] == "deliver_otp" else "deliver_otp"
        watch.reply(peer, asked, a_reply(asked.token, wrong))


def _reply_unknown(watch: WatchedBroker, step: Step) -> None:
    if watch.peers:
        peer = watch.peers[step.pick % len(watch.peers)]
        # Of another broker, so with a key that is not this one's; and a right one, spoilt.
        foreign = CallbackTokens(Random(step.option).randbytes).make(watch.clock.time() + 1)
        known = [asked.token for asked in watch.asked if asked.token]
        spoilt = [f"{token}." for token in known]
        tokens = ["none", foreign, *spoilt]
        watch.reply_unknown(peer, a_reply(tokens[step.option % len(tokens)]))


def _drain(watch: WatchedBroker, step: Step) -> None:
    serving = [peer for peer in watch.peers if peer.serves]
    if serving:
        watch.drain(serving[step.pick % len(serving)])


def _disconnect(watch: WatchedBroker, step: Step) -> None:
    connected = _connected(watch)
    if connected:
        watch.disconnect(connected[step.pick % len(connected)])


def _abandon(watch: WatchedBroker, step: Step) -> None:
    if watch.asked:
        watch.abandon(watch.asked[step.pick % len(watch.asked)])


def _next(watch: WatchedBroker, _: Step) -> None:
    """Let time pass until something is due, and let it happen: most of that is at deadlines and halves."""
    next_time = watch.clock.next_time
    if next_time is not None:
        watch.let_pass(max(next_time, watch.clock.time()))


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


_ACTIONS: dict[str, Callable[[WatchedBroker, Step], None]] = {
    "connect": _connect,
    "ask": _ask,
    "reply": _reply,
    "reply_again": _reply_again,
    "reply_wrong": _reply_wrong,
    "reply_unknown": _reply_unknown,
    "drain": _drain,
    "disconnect": _disconnect,
    "abandon": _abandon,
    "next": _next,
    "pass": _pass,
    "arrive": _arrive,
    "stall": _stall,
    "turn": _turn,
}
