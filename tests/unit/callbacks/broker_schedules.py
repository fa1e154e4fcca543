"""Random schedules for a broker: made from a seed, played, and cut down to what is needed to fail."""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from gateway.callbacks.tokens import CallbackTokens
from tests.unit.callbacks.broker_peers import Asked, Peer
from tests.unit.callbacks.broker_samples import TOPICS, a_refusal, a_reply
from tests.unit.callbacks.broker_watch import BrokenPromiseError, WatchedBroker

__all__ = ["Failure", "Step", "a_schedule", "failure_of", "play", "shortest"]

_MOST_HANDLERS = 4
_MOST_QUESTIONS = 8
_TICK = 0.125
# A multiple of the tick, so that halves of halves of it are exact and meet each other and the deadlines.
_SECONDS = (0.5, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0)


class Step(NamedTuple):
    """What is done, and to which of those it can be done to: whoever is there when it comes to it."""

    action: str
    pick: int = 0
    option: int = 0
    topic: int = 0


class Failure(NamedTuple):
    """How a schedule failed."""

    promise: str
    message: str
    history: tuple[str, ...]


def a_schedule(seed: int) -> list[Step]:
    """Make the schedule of a seed."""
    random = Random(seed)  # noqa: S311 # the same schedule each time
    actions = ["connect", "ask"] * random.randint(0, 2)
    weights = [action.weight for action in _ACTIONS.values()]
    actions += random.choices(list(_ACTIONS), weights, k=random.randint(6, 30))
    # The fewer topics there are, the more the handlers compete.
    topics = random.choice((1, 1, 2, 4))
    return [
        Step(action, random.getrandbits(12), random.getrandbits(12), random.randrange(topics)) for action in actions
    ]


def failure_of(steps: Sequence[Step]) -> Failure | None:
    """Play a schedule, and tell how it fails; None if every promise is kept."""
    watch = WatchedBroker()
    try:
        play(watch, steps)
    except BrokenPromiseError as error:
        return Failure(error.promise, str(error), tuple(watch.history))
    except Exception as error:  # noqa: BLE001 # whatever the broker raises is a failure of the schedule
        return Failure(type(error).__name__, repr(error), tuple(watch.history))
    return None


def shortest(steps: Sequence[Step]) -> list[Step]:
    """Leave out of a failing schedule what it fails without, in the same way."""
    failure = failure_of(steps)
    kept = list(steps)
    size = len(kept)
    while failure is not None and size > 0:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            shorter = failure_of(fewer)
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
        _ACTIONS[step.action].do(watch, step)
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
        topics = {topic for number, topic in enumerate(TOPICS) if number == step.topic or step.pick >> number & 1}
        watch.connect(frozenset(topics), 1 + step.option % 3)


def _ask(watch: WatchedBroker, step: Step) -> None:
    if len(watch.asked) < _MOST_QUESTIONS:
        watch.ask(TOPICS[step.topic], _SECONDS[step.pick % len(_SECONDS)], wait_for_handler=step.option % 4 != 0)


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
        foreign = CallbackTokens().make(watch.clock.time() + 1)
        tokens = ["none", foreign, *(f"{asked.token}." for asked in watch.asked if asked.token)]
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


class _Action(NamedTuple):
    weight: int
    """How often it is done, among the others."""
    do: Callable[[WatchedBroker, Step], None]


_ACTIONS = {
    "connect": _Action(5, _connect),
    "ask": _Action(10, _ask),
    "reply": _Action(8, _reply),
    "reply_again": _Action(4, _reply_again),
    "reply_wrong": _Action(2, _reply_wrong),
    "reply_unknown": _Action(1, _reply_unknown),
    "drain": _Action(2, _drain),
    "disconnect": _Action(4, _disconnect),
    "abandon": _Action(2, _abandon),
    "next": _Action(8, _next),
    "pass": _Action(3, _pass),
    "arrive": _Action(2, _arrive),
    "stall": _Action(1, _stall),
    "turn": _Action(1, _turn),
}
