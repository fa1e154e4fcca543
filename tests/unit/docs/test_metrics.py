"""docs/operations.md lists every metric with its type and its labels, and no other."""

import re
from pathlib import Path
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from gateway.audit.lines import Counts
from gateway.callbacks.model import RelayCounts
from gateway.telemetry.metrics import Metrics
from tests.fakes import ISSUER
from tests.unit.notifications.watches import a_log_of
from tests.unit.telemetry.test_state import Observed

_PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
_TYPES = {"C": "counter", "G": "gauge", "H": "histogram"}
_ROW = re.compile(r"^\| (`[^|]+`) \| ([CGH]) \|([^|]*)\| .+ \|$", re.MULTILINE)
_NAME = re.compile(r"`(\w+)`")


def _listed() -> dict[str, tuple[str, frozenset[str]]]:
    section = _PAGE.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    found = {}
    for names, kind, labels in _ROW.findall(section):
        for name in _NAME.findall(names):
            found[name.removesuffix("_total")] = _TYPES[kind], frozenset(_NAME.findall(labels))
    return found


def _exposed(registry: CollectorRegistry) -> dict[str, tuple[str, frozenset[str]]]:
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[family.name.removeprefix("d1_gateway_")] = family.type, frozenset(labels)
    return {name: what for name, what in found.items() if not name.startswith("process_")}


async def test_the_page_lists_every_metric_with_its_type_and_its_labels() -> None:
    log = a_log_of(1)
    await log.commit(ISSUER, "ledger", 0, 0)
    membership = SimpleNamespace(peers={}, relay_counts=RelayCounts())
    trail = SimpleNamespace(counts=Counts(), failure="")
    state, metrics = Observed(log, membership=membership, audit=trail), Metrics()
    await state.scrape()

    # A metric without series shows no labels.
    counted = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    declared = {each._name.removeprefix("d1_gateway_"): (each._type, frozenset(each._labelnames)) for each in counted}
    assert _listed() == _exposed(state.registry) | _exposed(metrics.registry) | declared
