"""Callbacks handled at the gateway that D1 calls, or at another one."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from bench.clients.client import connections
from bench.clients.loader import Load, loader
from bench.clients.traffic import CallbackRequests
from bench.cluster.rounds import load_sites
from bench.cluster.stage import Site, Stage, started
from bench.common.processes import handler
from bench.common.results import Row
from sandbox.common.pki import Pki
from sandbox.common.tls import client_context
from sandbox.gateway import GatewayConfig
from sandbox.sandbox import ISSUER_ID

__all__ = ["measure_callbacks"]

_SECONDS: Final = 0.7
_STEADY_SECONDS: Final = 0.8
_HEARD_OF_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.1


async def measure_callbacks(config: GatewayConfig, folder: Path, rounds: int) -> list[Row]:
    """Send callbacks to sites in turns; of two gateways, D1 calls the first.

    Args:
        config: The settings of a gateway.
        folder: The folder for all files.
        rounds: The number of rounds.

    Raises:
        RuntimeError: A NATS server did not start, or a callback failed.
        ExceptionGroup: A gateway did not start.
        TimeoutError: A gateway does not learn of its peer's handler.
    """
    loads = (
        Load("callbacks", connections=16, rounds=rounds, seconds=_SECONDS),
        Load("callbacks", connections=16, rounds=rounds, seconds=_STEADY_SECONDS, rate=500.0),
    )
    pki = config.pki
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage.open(config, folder))
        load = await stack.enter_async_context(loader(pki))
        of_here, of_there = [await stage.one_server(name) for name in ("here", "there")]
        alone, here, there = sites = await started(
            stage.alone(),
            stage.sharing("R1, handler here", of_here, gateways=2),
            stage.sharing("R1, handler there", of_there, gateways=2),
        )
        for served in (alone.gateways[0], here.gateways[0], there.gateways[1]):
            await stack.enter_async_context(handler(served.grpc, pki))
        await _heard_of(there, pki)
        return [row for each in loads for row in await load_sites("callbacks", load, sites, each)]


async def _heard_of(site: Site, pki: Pki) -> None:
    """Wait until the gateway that D1 calls knows the handler at its peer."""
    tls, traffic = client_context(pki.d1_client, pki.server_ca), CallbackRequests(ISSUER_ID)
    async with asyncio.timeout(_HEARD_OF_SECONDS):
        while True:
            async with connections(site.server.port, 1, tls) as ((connection,), broken):
                answered = asyncio.Event()
                connection.on_answer = lambda _, answered=answered: answered.set()  # type: ignore[misc]
                connection.send(traffic.request())
                waiting = asyncio.create_task(answered.wait())
                await asyncio.wait((waiting, broken), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if answered.is_set():
                    return
            await asyncio.sleep(_PAUSE_SECONDS)
