"""The cost of an idempotency record: CreateCard with and without a ``request_id``, one call at a time."""

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.cluster.rounds import SCENARIO
from bench.cluster.stage import Site, Stage, started
from bench.common.results import Row
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from sandbox.gateway import GatewayConfig, channel
from sandbox.sandbox import Sandbox

__all__ = ["measure_cards"]

_CONSUMER: Final = "consumer_bench"
_CREATE: Final = card.CreateCardRequest(
    consumer_id=_CONSUMER,
    card_product_id="full",
    accounts=[card.CardAccount(is_default=True, number="12345678", currency_code="EUR")],
)
_CASES: Final[Mapping[str, bool]] = {"CreateCard": False, "CreateCard with request_id": True}
_CALLS: Final = 100
_CALL_SECONDS: Final = 10.0
_MILLISECONDS: Final = 1e3
_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class _Caller:
    """A caller of a site."""

    site: Site
    cards: "card_grpc.CardServiceAsyncStub"

    async def create(self, *, has_id: bool) -> Mapping[str, float]:
        """Create cards one by one. Return the figures of a round."""
        cpu, nats_cpu = self.site.cpu_seconds(), self.site.nats_cpu_seconds()
        latencies = sorted([await self._create(str(uuid.uuid4()) if has_id else "") for _ in range(_CALLS)])
        return {
            **{f"p{percent}_ms": _MILLISECONDS * latencies[-(-percent * _CALLS // 100) - 1] for percent in (50, 95)},
            "cpu_us": _MICROSECONDS * (self.site.cpu_seconds() - cpu) / _CALLS,
            "nats_cpu_us": _MICROSECONDS * (self.site.nats_cpu_seconds() - nats_cpu) / _CALLS,
        }

    async def _create(self, request_id: str) -> float:
        request = card.CreateCardRequest(request_id=request_id)
        request.MergeFrom(_CREATE)
        began = time.perf_counter()
        await self.cards.CreateCard(request, timeout=_CALL_SECONDS)
        return time.perf_counter() - began


async def measure_cards(sandbox: Sandbox, config: GatewayConfig, folder: Path, rounds: int) -> list[Row]:
    """Create cards through sites in turns.

    Args:
        sandbox: Has D1, which creates them.
        config: The settings of a gateway.
        folder: The folder for all files.
        rounds: The number of rounds.

    Raises:
        RuntimeError: A NATS server did not start.
        ExceptionGroup: A gateway did not start.
        grpc.aio.AioRpcError: A call failed.
    """
    sandbox.store.add_consumer(_CONSUMER)
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage.open(config, folder))
        one, three = await stage.one_server("one"), await stage.three_servers("three")
        sites = await started(stage.alone(), stage.sharing("R1", one), stage.sharing("R3, sync always", three))
        ways = [await stack.enter_async_context(channel(site.gateways[0].grpc, config.pki)) for site in sites]
        callers = [_Caller(site, card_grpc.CardServiceStub(way)) for site, way in zip(sites, ways, strict=True)]
        return [row for case in _CASES for row in await _in_turns(callers, case, rounds)]


async def _in_turns(callers: Sequence[_Caller], case: str, rounds: int) -> list[Row]:
    for caller in callers:
        await caller.create(has_id=_CASES[case])
    found: list[list[Mapping[str, float]]] = [[] for _ in callers]
    for _ in range(rounds):
        for caller, kept in zip(callers, found, strict=True):
            kept.append(await caller.create(has_id=_CASES[case]))
    return [_row(caller.site, case, kept) for caller, kept in zip(callers, found, strict=True)]


def _row(site: Site, case: str, rounds: Sequence[Mapping[str, float]]) -> Row:
    figures = {name: [each[name] for each in rounds] for name in rounds[0]}
    more = {"nats_cpu_us": figures.pop("nats_cpu_us")}
    return Row(SCENARIO, case, site.name, **figures, more=more)
