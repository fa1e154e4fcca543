"""The cost of a cluster: gateways over NATS, compared with one with its own event log: ``python -m bench.cluster``."""

from pathlib import Path
from typing import Final

from bench.cluster.callbacks import measure_callbacks
from bench.cluster.cards import measure_cards
from bench.cluster.fan_out import measure_fan_out
from bench.cluster.intake import measure_intake
from bench.common.results import Row
from sandbox.gateway import GatewayConfig
from sandbox.sandbox import Sandbox

__all__ = ["measure_cluster"]

_ROUNDS: Final = 3
_QUICK_ROUNDS: Final = 1


async def measure_cluster(folder: Path, *, quick: bool) -> list[Row]:
    """Measure gateways with their own event log, on one NATS server, and on three.

    Args:
        folder: The folder of keys, settings and logs; its disk affects the results.
        quick: One round of each as a smoke test; no floor needs it.

    Raises:
        RuntimeError: A NATS server did not start, a request failed or a stream ended.
        ExceptionGroup: A gateway did not start.
        TimeoutError: A watcher did not get everything, or a callback found no handler.
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
