"""Random lives of several gateways."""

from functools import partial
from random import Random

from tests.unit.callbacks.cluster.cluster_watch import WatchedCluster
from tests.unit.callbacks.random_lives import SHARED_ACTIONS, Schedule, Step, steps

__all__ = ["schedule_of"]

_PASSES = (0.001, 0.001, 0.01, 0.125, 0.25, 0.5, 1.0, 4.0)


def schedule_of(seed: int) -> Schedule:
    """Make the schedule of a seed; in every third nothing fails."""
    random = Random(seed)  # noqa: S311 # the same schedule each time
    is_calm = seed % 3 == 0
    count = random.choice((2, 2, 3))
    start = partial(WatchedCluster, seed, count, is_calm=is_calm)
    return Schedule(start, steps(random, _ACTIONS if is_calm else _ACTIONS | _TROUBLES, most=36))


def _pass(watch: WatchedCluster, step: Step) -> None:
    watch.let_pass(watch.now + _PASSES[step.pick % len(_PASSES)])


def _pause(watch: WatchedCluster, step: Step) -> None:
    if gateway := watch.place(step.pick):
        watch.pause(gateway)


def _resume(watch: WatchedCluster, step: Step) -> None:
    if paused := [gateway for gateway in watch.alive if gateway.is_paused]:
        watch.resume(paused[step.pick % len(paused)])


def _kill(watch: WatchedCluster, step: Step) -> None:
    # One has to be left to see what becomes of it all.
    if (gateway := watch.place(step.pick)) and len(watch.alive) > 1:
        watch.kill(gateway)


def _unplug(watch: WatchedCluster, step: Step) -> None:
    if (gateway := watch.place(step.pick)) and gateway.is_wired:
        watch.unplug(gateway)


def _plug_in(watch: WatchedCluster, step: Step) -> None:
    if (gateway := watch.place(step.pick)) and not gateway.is_wired:
        watch.plug_in(gateway)


def _deafen(watch: WatchedCluster, step: Step) -> None:
    watch.deafen(0.5 * (1 + step.pick % 10))


_ACTIONS = {**SHARED_ACTIONS, _pass: 10}
_TROUBLES = {_pause: 2, _resume: 3, _kill: 1, _unplug: 2, _plug_in: 3, _deafen: 2}
