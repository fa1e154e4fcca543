"""Notifications taken by a gateway with its own event log and by one with NATS as its event log."""

from pathlib import Path
from typing import Final

from bench.clients.loader import Load, loader
from bench.cluster.rounds import load_sites
from bench.cluster.stage import Stage, started
from bench.common.results import Row
from sandbox.gateway import GatewayConfig

__all__ = ["measure_intake"]

_SATURATED_SECONDS: Final = 0.8
_STEADY_SECONDS: Final = 0.8


async def measure_intake(config: GatewayConfig, folder: Path, rounds: int) -> list[Row]:
    """Send notifications to sites in turns.

    Args:
        config: The settings of a gateway.
        folder: The folder for all files.
        rounds: The number of rounds.

    Raises:
        RuntimeError: A NATS server did not start, or a notification was rejected.
        ExceptionGroup: A gateway did not start.
    """
    loads = (
        Load("notifications", connections=64, rounds=rounds, seconds=_SATURATED_SECONDS),
        Load("notifications", connections=32, rounds=rounds, seconds=_STEADY_SECONDS, rate=500.0),
    )
    async with Stage.open(config, folder) as stage, loader(config.pki) as load:
        one = await stage.one_server("one")
        one_synced = await stage.one_server("one-synced", syncs_always=True)
        three_synced = await stage.three_servers("three-synced")
        sites = await started(
            stage.alone(),
            stage.sharing("R1", one),
            stage.sharing("R1, sync always", one_synced),
            stage.sharing("R3, sync always", three_synced),
        )
        return [row for each in loads for row in await load_sites("notifications", load, sites, each)]
