"""All scenarios by name, in the order of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.cluster import measure_cluster
from bench.common.results import Measure
from bench.scaling import measure_scaling
from bench.scenarios.backfill import measure_backfill
from bench.scenarios.fan_out import measure_fan_out
from bench.scenarios.growth import measure_growth
from bench.scenarios.intake import measure_intake
from bench.scenarios.replay import measure_replay
from bench.scenarios.round_trip import measure_round_trips
from bench.scenarios.start import measure_start
from bench.scenarios.threeds_translation import measure_translation
from bench.unary import measure_audit, measure_authenticate, measure_unary

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario."""

    title: str
    measure: Measure


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "unary": Scenario("Card changes", measure_unary),
    "audit": Scenario("Card changes with an audit trail", measure_audit),
    "authenticate": Scenario("Authentications", measure_authenticate),
    "translation": Scenario("Translation of an Authenticate, both ways", measure_translation),
    "intake": Scenario("Notification intake", measure_intake),
    "fan-out": Scenario("Notification delivery to many watchers", measure_fan_out),
    "replay": Scenario("Catching up", measure_replay),
    "backfill": Scenario("A backfill beside live notifications, and a card's cost", measure_backfill),
    "growth": Scenario("Growth of the event log", measure_growth),
    "callbacks": Scenario("Callbacks through a handler", measure_round_trips),
    "scaling": Scenario("How cost grows", measure_scaling),
    "cluster": Scenario("Several gateways over NATS", measure_cluster),
    "start": Scenario("Start-up time and idle memory", measure_start),
}
