"""What a backfill costs: live notifications beside it, and the gateway's processor time for each card that it reads.

Alone: ``python -m bench.scenarios.backfill``. D1 is a stand-in that responds at once with full pages, of which some
operations are new. A gateway fetches at 5 calls per second, another one at 50, each while D1 posts notifications that a
watcher receives. Windows with and without a backfill take turns, and the percentiles are taken over all windows of a
kind together, as a single window has too few notifications.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Final

import grpc

from bench.clients.audience import Audience, audience
from bench.clients.posting import Poster, posting
from bench.clients.watching import percentile_ms
from bench.common.history_pages import SINCE, card_ids
from bench.common.processes import Ground
from bench.common.report import run_alone
from bench.common.results import Row
from bench.common.usage import cpu_seconds
from bench.unary.child import child
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.gateway import GatewayProcess, channel

__all__ = ["measure_backfill"]

_SCENARIO: Final = "backfill"
_RATES: Final = (5, 50)
"""Calls per second: the default, and ten times as many."""
_AT_ONCE: Final = 1000
"""Calls per second that no gateway reaches."""
_LIVE_RATE: Final = 200.0
_WINDOW_SECONDS: Final = 1.5
_ROUNDS: Final = 4
_WARM_UP: Final = 100
_CONNECTIONS: Final = 16
_CARDS: Final = 300
_NEWS: Final = (0, 1, 50)
"""How many operations of a card are new."""
_COST_ROUNDS: Final = 3
_MICROSECONDS: Final = 1e6


@dataclass(slots=True)
class _Windows:
    """The windows of one kind."""

    latencies_ns: list[Sequence[int]] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """The gateway's processor time per live notification."""

    @property
    def pooled_ns(self) -> list[int]:
        return sorted(chain.from_iterable(self.latencies_ns))


@dataclass(frozen=True, slots=True)
class _Stage:
    """A gateway, its poster and its watcher."""

    gateway: GatewayProcess
    poster: Poster
    watching: Audience
    calling: grpc.aio.Channel

    async def window(self, into: _Windows) -> None:
        """Post at a steady rate, and note the latencies."""
        count = round(_LIVE_RATE * _WINDOW_SECONDS)
        await self.watching.expect(count, is_timed=True)
        cpu = cpu_seconds(self.gateway.pid)
        await self.poster.steadily(count, _LIVE_RATE)
        sight = await self.watching.see()
        into.latencies_ns.append(sight.latencies_ns)
        into.cpu_us.append(_MICROSECONDS * (cpu_seconds(self.gateway.pid) - cpu) / count)


async def measure_backfill(folder: Path, *, quick: bool) -> list[Row]:
    """Measure live notifications beside a backfill, and the cost of a card.

    Args:
        folder: The folder of keys and logs.
        quick: No floor of a quick run needs it, so it is measured in full.

    Raises:
        RuntimeError: A gateway did not start, or a backfill failed.
    """
    del quick
    ground = await Ground.prepare(folder)
    pki = ground.config.pki
    d1 = pki.d1_server
    upstream = (sys.executable, "-m", "bench.unary.upstream", d1.certificate, d1.key, pki.gateway_client_ca)
    async with child(*upstream) as stand_in:
        config = replace(ground.config, d1_url=f"https://127.0.0.1:{stand_in.ports[0]}")
        ground = replace(ground, config=config)
        async with AsyncExitStack() as stack:
            rates = (*_RATES, _AT_ONCE)
            gateways = [await stack.enter_async_context(_gateway(ground, rate)) for rate in rates]
            audiences = [await stack.enter_async_context(audience(pki)) for _ in _RATES]
            # Once gRPC has channels, no process should be forked.
            channels = [await stack.enter_async_context(channel(each.grpc, pki)) for each in gateways]
            posters = [await stack.enter_async_context(posting(each.edge, pki, _CONNECTIONS)) for each in gateways[:-1]]
            stages = map(_Stage, gateways, posters, audiences, channels)
            return [*await _beside(dict(zip(_RATES, stages, strict=True))), *await _costs(gateways[-1], channels[-1])]


async def _beside(stages: Mapping[int, _Stage]) -> list[Row]:
    found = {rate: (_Windows(), _Windows()) for rate in stages}
    for stage in stages.values():
        await stage.watching.open(stage.gateway.grpc, 1)
        await stage.window(_Windows())
    for _ in range(_ROUNDS):
        for rate, stage in stages.items():
            without, beside = found[rate]
            await stage.window(without)
            async with _backfilling(stage.calling):
                await stage.window(beside)
    return [row for rate, pair in found.items() for row in _rows(rate, *pair)]


def _rows(rate: int, without: _Windows, beside: _Windows) -> list[Row]:
    case = f"{_LIVE_RATE:.0f}/s to 1 watcher"
    ratio = percentile_ms(beside.pooled_ns, 99) / percentile_ms(without.pooled_ns, 99)
    pairs = zip(beside.latencies_ns, without.latencies_ns, strict=True)
    more = {
        "p99_over_that_without": [ratio],
        "ratio_in_a_window": [percentile_ms(ours, 99) / percentile_ms(theirs, 99) for ours, theirs in pairs],
    }
    return [
        _row(f"{case}, before {rate} calls/s", without, {}),
        _row(f"{case}, beside {rate} calls/s", beside, more),
    ]


def _row(case: str, windows: _Windows, more: Mapping[str, Sequence[float]]) -> Row:
    pooled = windows.pooled_ns
    return Row(
        _SCENARIO,
        case,
        "gateway",
        p50_ms=[percentile_ms(pooled, 50)],
        p95_ms=[percentile_ms(pooled, 95)],
        p99_ms=[percentile_ms(pooled, 99)],
        cpu_us=windows.cpu_us,
        more=more,
    )


async def _costs(gateway: GatewayProcess, calling: grpc.aio.Channel) -> list[Row]:
    cpu_us: Mapping[int, list[float]] = {new: [] for new in _NEWS}
    await _backfill(calling, card_ids(1, _WARM_UP))
    for _ in range(_COST_ROUNDS):
        for new, found in cpu_us.items():
            cpu = cpu_seconds(gateway.pid)
            await _backfill(calling, card_ids(new, _CARDS))
            found.append(_MICROSECONDS * (cpu_seconds(gateway.pid) - cpu) / _CARDS)
    return [
        Row(_SCENARIO, f"a card, {new} operation{'' if new == 1 else 's'} new", "gateway", cpu_us=cpu_us[new])
        for new in _NEWS
    ]


@asynccontextmanager
async def _backfilling(calling: grpc.aio.Channel) -> AsyncIterator[None]:
    """Fetch cards with one new operation each for the duration of the block."""
    task = asyncio.create_task(_backfill(calling, card_ids(1, _AT_ONCE)))
    try:
        yield
        if task.done():
            task.result()
            raise RuntimeError("The backfill ended too early.")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _backfill(calling: grpc.aio.Channel, cards: Sequence[str]) -> None:
    """Fetch cards, each of which must succeed."""
    request = notification.BackfillNotificationsRequest(card_ids=cards)
    request.since_time.FromDatetime(SINCE)
    async for response in NotificationServiceStub(calling).BackfillNotifications(request):
        if response.HasField("pause") or response.card.HasField("error"):
            raise RuntimeError(f"The backfill failed: {response}")


@asynccontextmanager
async def _gateway(ground: Ground, calls_per_second: int) -> AsyncIterator[GatewayProcess]:
    folder = ground.folder / f"{calls_per_second}"
    await asyncio.to_thread(folder.mkdir)
    more = {"backfill": {"calls_per_second": float(calls_per_second)}}
    config = replace(ground.config, event_log=folder / "d1-gateway.db", more=more)
    async with await GatewayProcess.start(config, folder) as served:
        yield served


if __name__ == "__main__":
    run_alone(measure_backfill)
