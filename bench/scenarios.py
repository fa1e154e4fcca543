"""What can be measured, by name, in the order of a run."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.cluster import measure_cluster
from bench.fan_out import measure_fan_out
from bench.growth import measure_growth
from bench.intake import measure_intake
from bench.replay import measure_replay
from bench.results import Row
from bench.round_trip import measure_round_trips
from bench.start import measure_start
from bench.threeds_translation import measure_translation
from bench.unary import measure_authenticate, measure_unary

__all__ = ["SCENARIOS", "Measure", "Scenario"]


class Measure(Protocol):
    """Measures one scenario."""

    def __call__(self, folder: Path, *, quick: bool) -> Awaitable[list[Row]]:
        """Measure it.

        Args:
            folder: An empty one, for all that is written.
            quick: Whether to measure only what the floors of a quick run need.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that can be measured."""

    title: str
    measure: Measure


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "unary": Scenario("Changes of cards", measure_unary),
    "authenticate": Scenario("Authentications", measure_authenticate),
    "translation": Scenario("An Authenticate translated, there and back", measure_translation),
    "intake": Scenario("Notifications taken", measure_intake),
    "fan-out": Scenario("Notifications delivered to many watchers", measure_fan_out),
    "replay": Scenario("Notifications caught up with", measure_replay),
    "growth": Scenario("As the log grows", measure_growth),
    "questions": Scenario("D1's questions answered", measure_round_trips),
    "cluster": Scenario("Several gateways over NATS", measure_cluster),
    "start": Scenario("Start, and memory at rest", measure_start),
}
