"""Reads single metrics of a registry, without the histograms, which are most of it; and what counts as a failure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry

from gateway.ports import CallbackOutcome

__all__ = ["CHARTS", "is_failed_rpc", "is_unanswered", "samples", "split"]

_Labels: TypeAlias = Mapping[str, str]
_Counts: TypeAlias = Callable[[_Labels], bool]
_ANSWERED: Final = frozenset({CallbackOutcome.ANSWERED, CallbackOutcome.REFUSED})
_UNANSWERED: Final = frozenset({CallbackOutcome.FALLBACK, CallbackOutcome.NO_HANDLER, CallbackOutcome.EXHAUSTED})
_RESULT_POLL: Final = "authentication_result"


def samples(registry: CollectorRegistry, name: str) -> Iterator[tuple[_Labels, float]]:
    """Yield the labels and the value of each series of a metric, by its name without the common prefix."""
    full = f"d1_gateway_{name}"
    for metric in registry.restricted_registry([full]).collect():
        for sample in metric.samples:
            yield sample.labels, sample.value


def split(registry: CollectorRegistry, chart: str) -> tuple[float, float]:
    """Return how much of what a chart counts went well since the start, and how much did not."""
    name, is_well, is_bad = CHARTS[chart]
    well = badly = 0.0
    for labels, value in samples(registry, name):
        if is_bad(labels):
            badly += value
        elif is_well(labels):
            well += value
    return well, badly


def is_failed_rpc(labels: _Labels) -> bool:
    """Return whether rpcs failed. Those that their callers cancelled did not, and so most streams end."""
    return labels["code"] not in {"OK", "CANCELLED"}


def is_unanswered(labels: _Labels) -> bool:
    """Return whether the platform got the fallback of callback requests.

    A poll for a result may well go unanswered: there may be none yet, or no handler for it at all.
    """
    outcome = labels["outcome"]
    return outcome in _UNANSWERED and (labels["kind"] != _RESULT_POLL or outcome == CallbackOutcome.EXHAUSTED)


def _is_other_failure(labels: _Labels) -> bool:
    return labels["result"] not in {"2xx", "3xx", "4xx", "cancelled"}


CHARTS: Final[Mapping[str, tuple[str, _Counts, _Counts]]] = {
    "calls": ("rpcs_total", lambda _: True, is_failed_rpc),
    "callbacks": ("callbacks_total", lambda labels: labels["outcome"] in _ANSWERED, is_unanswered),
    "notifications": (
        "event_log_appends_total",
        lambda labels: labels["outcome"] == "stored",
        lambda labels: labels["outcome"] == "failed",
    ),
    # An upstream that refuses a request works.
    "upstreams": ("upstream_requests_total", lambda labels: labels["result"] != "cancelled", _is_other_failure),
    "backfill": ("backfill_cards_total", lambda _: True, lambda labels: labels["outcome"] == "failed"),
    "recovered": ("backfill_recovered_total", lambda _: True, lambda _: False),
}
"""For each chart: the metric that it is read off, which of its series went well, and which did not."""
