"""What the supervisor tells of its workers: their metrics as one, and whether all are ready."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.report import OK, Phase, Report
from gateway.workers.asking import PATIENCE_SECONDS, ask
from gateway.workers.merging import growing, merged
from gateway.workers.process import Worker
from gateway.workers.slot import Slot

__all__ = ["CrewMetrics", "CrewReadiness"]

_NOBODY: Final = 0
_STATES: Final = ("closed", "half_open", "open")


class CrewMetrics:
    """A collector of what all workers count; those that are gone go on to count with what they told last."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        """Look at workers, to be refreshed before each scrape.

        Args:
            slots: Where they are.
        """
        self._slots = slots
        self._told: dict[Worker, list[Metric]] = {}
        self._gone: list[Metric] = []
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask every worker. Of one that does not answer, counters stay what they were and gauges are left out."""
        async with self._refreshing:
            asked = self._workers()
            answers = await asyncio.gather(*(ask(worker, "/metrics") for worker in asked))
            living = set(self._workers())
            for worker, answer in zip(asked, answers, strict=True):
                # Who was buried meanwhile is counted already.
                if worker in living:
                    told = self._told.get(worker, ())
                    self._told[worker] = growing(told) if answer is None else _parsed(answer)

    def bury(self, worker: Worker) -> None:
        """Count a worker that has ended with its last word, or without one with what it told before."""
        told = self._told.pop(worker, [])
        with suppress(OSError):
            told = _parsed(worker.place.last_metrics.read_text())
        self._gone = merged([(_NOBODY, self._gone), (worker.place.number, growing(told))])

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; see `prometheus_client.registry.Collector`."""
        current = {slot.current for slot in self._slots}
        # Those that drain come first: where each worker has a series of its own, whoever took over has the last word.
        told = sorted(self._told.items(), key=lambda item: item[0] in current)
        yield from merged([(_NOBODY, self._gone), *((worker.place.number, families) for worker, families in told)])
        yield GaugeMetricFamily("d1_gateway_workers", "Workers that serve.", len(current - {None}))
        deaths = CounterMetricFamily("d1_gateway_worker_deaths", "Workers that ended without being told to.")
        deaths.add_metric([], sum(slot.deaths for slot in self._slots))
        yield deaths

    def _workers(self) -> list[Worker]:
        return [worker for slot in self._slots for worker in slot.workers]


class CrewReadiness:
    """Looks whether every worker is ready."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        """Look at workers that start.

        Args:
            slots: Where they are.
        """
        self.phase: Phase = "starting"
        self._slots = slots

    async def report(self) -> Report:
        """Look, and tell."""
        reports = await asyncio.gather(*map(_report, self._slots))
        checks = {f"worker_{slot.number}": _wrong(report) for slot, report in zip(self._slots, reports, strict=True)}
        serving = OK if self.phase == "serving" else self.phase
        return Report({"serving": serving, **checks}, _worst(report.circuits for report in reports))


async def _report(slot: Slot) -> Report:
    """Ask whoever serves in a place."""
    if slot.current is None:
        return Report({"serving": "nobody"}, {})
    body = await ask(slot.current, "/readyz")
    if body is None:
        return Report({"serving": f"no answer within {PATIENCE_SECONDS:g} s"}, {})
    told = json.loads(body)
    return Report(told["checks"], told["circuits"])


def _wrong(report: Report) -> str:
    return "; ".join(f"{name}: {result}" for name, result in report.checks.items() if result != OK) or OK


def _worst(circuits: Iterable[Mapping[str, str]]) -> dict[str, str]:
    worst: dict[str, str] = {}
    for each in circuits:
        for upstream, state in each.items():
            worst[upstream] = max(state, worst.get(upstream, state), key=_STATES.index)
    return worst


def _parsed(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))
