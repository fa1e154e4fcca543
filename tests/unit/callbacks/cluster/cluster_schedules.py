"""Random schedules for several gateways: made from a seed, played, and cut down to what is needed to fail."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tests.unit.callbacks.broker_samples import TOPICS, a_refusal, a_reply
from tests.unit.callbacks.broker_schedules import Failure, Step
from tests.unit.callbacks.broker_watch import BrokenPromiseError
from tests.unit.callbacks.cluster.cluster_network import Gateway
from tests.unit.callbacks.cluster.cluster_watch import Peer, Query, WatchedCluster

__all__ = ["Schedule", "a_schedule", "failure_of", "play", "shortest"]

_MOST_HANDLERS = 5
_MOST_QUESTIONS = 8
_SECONDS = (0.5, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0)
_PASSES = (0.001, 0.001, 0.01, 0.125, 0.25, 0.5, 1.0, 4.0)
_SETTLED_SECONDS = 0.25
_AFTERMATH_SECONDS = 8.0


class Schedule(NamedTuple):
    """What happens to how many gateways."""

    seed: int
    gateways: int
    is_calm: bool
    steps: tuple[Step, ...]


def a_schedule(seed: int) -> Schedule:
    """Make the schedule of a seed; in every third nothing fails."""
    random = Random(seed)  # noqa: S311 # the same schedule each time
    is_calm = seed % 3 == 0
    actions = {name: action for name, action in _ACTIONS.items() if not (is_calm and action.is_trouble)}
    names = ["connect", "ask"] * random.randint(0, 3)
    names += random.choices(list(actions), [action.weight for action in actions.values()], k=random.randint(8, 36))
    topics = random.choice((1, 1, 2, 4))
    steps = (Step(name, random.getrandbits(12), random.getrandbits(12), random.randrange(topics)) for name in names)
    return Schedule(seed, random.choice((2, 2, 3)), is_calm, tuple(steps))


def failure_of(schedule: Schedule) -> Failure | None:
    """Play a schedule, and tell how it fails; None if every promise is kept."""
    watch = WatchedCluster(schedule.seed, schedule.gateways, is_calm=schedule.is_calm)
    try:
        play(watch, schedule)
    except BrokenPromiseError as error:
        return Failure(error.promise, str(error), tuple(watch.history))
    except Exception as error:  # noqa: BLE001 # whatever a gateway raises is a failure of the schedule
        return Failure(type(error).__name__, repr(error), tuple(watch.history))
    return None


def shortest(schedule: Schedule) -> Schedule:
    """Leave out of a failing schedule what it fails without, in the same way."""
    failure = failure_of(schedule)
    size = len(schedule.steps)
    while failure is not None and size > 0:
        start = 0
        while start < len(schedule.steps):
            fewer = schedule._replace(steps=schedule.steps[:start] + schedule.steps[start + size :])
            shorter = failure_of(fewer)
            if shorter is not None and shorter.promise == failure.promise:
                schedule = fewer
            else:
                start += size
        size //= 2
    return schedule


def play(watch: WatchedCluster, schedule: Schedule) -> None:
    """Do each step, then mend what can be mended and let all time pass.

    Raises:
        BrokenPromiseError: A promise was not kept.
    """
    for step in schedule.steps:
        _ACTIONS[step.action].do(watch, step)
        if schedule.is_calm and step.option % 4 == 0:
            watch.let_pass(_SETTLED_SECONDS)
            watch.check_calm()
    for gateway in watch.network.gateways:
        if gateway.is_paused and not gateway.is_dead:
            watch.resume(gateway)
        if not gateway.is_wired:
            watch.plug_in(gateway)
    over = max((query.deadline for query in watch.queries), default=watch.now)
    watch.let_pass(max(over - watch.now, 0.0) + _AFTERMATH_SECONDS)
    watch.check_end()


def _pick(watch: WatchedCluster, number: int) -> Gateway | None:
    working = [gateway for gateway in watch.network.gateways if gateway.works]
    return working[number % len(working)] if working else None


def _connected(watch: WatchedCluster) -> list[Peer]:
    return [peer for peer in watch.peers if not peer.is_gone]


def _held(watch: WatchedCluster) -> list[tuple[Peer, Query]]:
    return [(peer, query) for peer in watch.peers for query in peer.held.values()]


def _connect(watch: WatchedCluster, step: Step) -> None:
    gateway = _pick(watch, step.pick)
    if gateway is not None and len(_connected(watch)) < _MOST_HANDLERS:
        topics = {topic for number, topic in enumerate(TOPICS) if number == step.topic or step.pick >> number & 1}
        watch.connect(gateway, frozenset(topics), 1 + step.option % 3)


def _ask(watch: WatchedCluster, step: Step) -> None:
    gateway = _pick(watch, step.option // 4)
    if gateway is not None and len(watch.queries) < _MOST_QUESTIONS:
        watch.ask(
            gateway, TOPICS[step.topic], _SECONDS[step.pick % len(_SECONDS)], wait_for_handler=step.option % 4 != 0
        )


def _reply(watch: WatchedCluster, step: Step) -> None:
    held = _held(watch)
    if held:
        peer, query = held[step.pick % len(held)]
        refuses = step.option % 8 == 0
        watch.reply(peer, query, a_refusal(query.token) if refuses else a_reply(query.token, query.topic[1]))


def _reply_again(watch: WatchedCluster, step: Step) -> None:
    """Reply to anything that was ever sent to anybody, over any stream at any gateway."""
    sent, connected = [query for query in watch.queries if query.token], _connected(watch)
    if sent and connected:
        peer, query = connected[step.option % len(connected)], sent[step.pick % len(sent)]
        watch.reply(peer, query, a_reply(query.token, query.topic[1]))


def _reply_wrong(watch: WatchedCluster, step: Step) -> None:
    held = _held(watch)
    if held:
        peer, query = held[step.pick % len(held)]
        watch.reply(
            peer, query, a_reply(query.token, "authenticate" if query.topic[1] == "deliver_otp" else "deliver_otp")
        )


def _drain(watch: WatchedCluster, step: Step) -> None:
    serving = [peer for peer in watch.peers if peer.serves]
    if serving:
        watch.drain(serving[step.pick % len(serving)])


def _disconnect(watch: WatchedCluster, step: Step) -> None:
    connected = _connected(watch)
    if connected:
        watch.disconnect(connected[step.pick % len(connected)])


def _abandon(watch: WatchedCluster, step: Step) -> None:
    waiting = [query for query in watch.queries if not (query.ends or query.is_abandoned) and query.gateway.works]
    if waiting:
        watch.abandon(waiting[step.pick % len(waiting)])


def _pass(watch: WatchedCluster, step: Step) -> None:
    watch.let_pass(_PASSES[step.pick % len(_PASSES)])


def _next(watch: WatchedCluster, _: Step) -> None:
    """Let the very next thing happen."""
    next_time = watch.network.clock.next_time
    if next_time is not None:
        watch.let_pass(max(next_time - watch.now, 0.0))


def _pause(watch: WatchedCluster, step: Step) -> None:
    gateway = _pick(watch, step.pick)
    if gateway is not None:
        watch.pause(gateway)


def _resume(watch: WatchedCluster, step: Step) -> None:
    paused = [gateway for gateway in watch.network.gateways if gateway.is_paused and not gateway.is_dead]
    if paused:
        watch.resume(paused[step.pick % len(paused)])


def _kill(watch: WatchedCluster, step: Step) -> None:
    gateway = _pick(watch, step.pick)
    # One has to be left to see what becomes of it all.
    if gateway is not None and sum(not each.is_dead for each in watch.network.gateways) > 1:
        watch.kill(gateway)


def _unplug(watch: WatchedCluster, step: Step) -> None:
    gateway = _pick(watch, step.pick)
    if gateway is not None and gateway.is_wired:
        watch.unplug(gateway)


def _plug_in(watch: WatchedCluster, step: Step) -> None:
    gateway = _pick(watch, step.pick)
    if gateway is not None and not gateway.is_wired:
        watch.plug_in(gateway)


def _deafen(watch: WatchedCluster, step: Step) -> None:
    watch.deafen(0.5 * (1 + step.pick % 10))


class _Action(NamedTuple):
    weight: int
    """How often it is done, among the others."""
    do: Callable[[WatchedCluster, Step], None]
    is_trouble: bool = False


_ACTIONS = {
    "connect": _Action(6, _connect),
    "ask": _Action(10, _ask),
    "reply": _Action(9, _reply),
    "reply_again": _Action(4, _reply_again),
    "reply_wrong": _Action(3, _reply_wrong),
    "drain": _Action(2, _drain),
    "disconnect": _Action(4, _disconnect),
    "abandon": _Action(2, _abandon),
    "next": _Action(10, _next),
    "pass": _Action(12, _pass),
    "pause": _Action(2, _pause, is_trouble=True),
    "resume": _Action(3, _resume, is_trouble=True),
    "kill": _Action(1, _kill, is_trouble=True),
    "unplug": _Action(2, _unplug, is_trouble=True),
    "plug_in": _Action(3, _plug_in, is_trouble=True),
    "deafen": _Action(2, _deafen, is_trouble=True),
}
