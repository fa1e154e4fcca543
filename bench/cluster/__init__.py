"""What it costs to share: several gateways over NATS, beside one with its own log: ``python -m bench.cluster``."""

from pathlib import Path
from typing import Final

from bench.cluster.cards import measure_cards
from bench.cluster.fan_out import measure_fan_out
from bench.cluster.intake import measure_intake
from bench.cluster.questions import measure_callbacks
from bench.common.results import Row
from sandbox.gateway import GatewayConfig
from sandbox.sandbox import Sandbox

__all__ = ["measure_cluster"]

_ROUNDS: Final = 3
_QUICK_ROUNDS: Final = 1


async def measure_cluster(folder: Path, *, quick: bool) -> list[Row]:
    """Measure gateways with their own log, on one NATS server, and on three.

    Args:
        folder: Where keys, settings and logs go; what disk it is on matters.
        quick: One round of each, to see whether it runs; no floor needs it.

    Raises:
        RuntimeError: A NATS server did not start, a request was refused or a stream ended.
        ExceptionGroup: A gateway did not start.
        TimeoutError: A watcher did not get everything, or a callback request found no handler.
    """
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    async with Sandbox.start(folder / "keys") as sandbox:
        config = GatewayConfig.of(sandbox, folder)
        return [
            *await measure_intake(config, folder / "intake", rounds),
            *await measure_fan_out(config, folder / "fan-out", rounds),
            *await measure_callbacks(config, folder / "callbacks", rounds),
            *await measure_cards(sandbox, config, folder / "cards", rounds),
        ]
