"""The metrics of several workers as those of one gateway."""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from prometheus_client import Metric
from prometheus_client.samples import Sample

__all__ = ["Scrape", "growing", "merged"]

Scrape = tuple[int, Iterable[Metric]]
"""A worker's number, and what it told."""

_GROWING: Final = frozenset({"counter", "histogram"})
_PREFIX: Final = "d1_gateway_"


class _Rule(Enum):
    SUM = auto()
    """Each worker has a part of it."""
    GREATEST = auto()
    """All see the same, some of them a moment later."""
    SMALLEST = auto()
    """The one that comes first is what matters."""
    EACH = auto()
    """It means something for one process only: each has a series of its own, with the label `worker`."""


_GAUGES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        "rpcs_in_flight": _Rule.SUM,
        "streams_open": _Rule.SUM,
        "upstream_requests_in_flight": _Rule.SUM,
        # An alarm on one that is open has to see whose it is.
        "upstream_circuit": _Rule.EACH,
        "questions_open": _Rule.SUM,
        "handlers_connected": _Rule.SUM,
        "watchers_standing_by": _Rule.SUM,
        "event_log_last_sequence": _Rule.GREATEST,
        "event_log_trimmed_sequence": _Rule.GREATEST,
        "event_log_size_bytes": _Rule.GREATEST,
        "subscriptions": _Rule.GREATEST,
        "subscription_lag": _Rule.GREATEST,
        # A file that was replaced is taken by one worker after the other.
        "certificate_expiry_timestamp_seconds": _Rule.SMALLEST,
    }
)


def merged(scrapes: Iterable[Scrape]) -> list[Metric]:
    """Put together what several workers told.

    Counters and histograms of the gateway are added up. Each gauge has its rule, and without one it is told for each
    worker; so is what a process says of itself.

    Args:
        scrapes: What was told. Of two with the same number the latter counts where each has a series of its own.
    """
    families: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Sample]] = {}
    for number, told in scrapes:
        for family in told:
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            found, rule = samples.setdefault(family.name, {}), _rule(family)
            for sample in family.samples:
                labels = {"worker": str(number), **sample.labels} if rule is _Rule.EACH else sample.labels
                key = sample.name, frozenset(labels.items())
                before = found.get(key)
                value = sample.value if before is None else _together(rule, family.type, before.value, sample.value)
                found[key] = Sample(sample.name, labels, value)
    for name, family in families.items():
        family.samples = list(samples[name].values())
    return list(families.values())


def growing(families: Iterable[Metric]) -> list[Metric]:
    """Keep what still counts when a worker is gone: what only ever grows."""
    return [family for family in families if family.type in _GROWING]


def _rule(family: Metric) -> _Rule:
    if not family.name.startswith(_PREFIX):
        return _Rule.EACH
    if family.type in _GROWING:
        return _Rule.SUM
    return _GAUGES.get(family.name.removeprefix(_PREFIX), _Rule.EACH)


def _together(rule: _Rule, kind: str, before: float, value: float) -> float:
    match rule:
        case _Rule.GREATEST:
            return max(before, value)
        case _Rule.SMALLEST:
            return min(before, value)
        case _Rule.EACH if kind not in _GROWING:
            return value
        case _:
            return before + value
