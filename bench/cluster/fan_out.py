"""Notifications posted at one gateway and watched there, at another one, and at both.

The watchers are two halves, each in its own process. A notification's time is that of the slower half: where one half
is at another gateway, it is that one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.clients.audience import Audience, audience
from bench.clients.posting import Poster, posting
from bench.clients.watching import Sight
from bench.cluster.rounds import SCENARIO
from bench.cluster.stage import Site, Stage, started
from bench.common.results import Row
from sandbox.common.pki import Pki
from sandbox.gateway import GatewayConfig

__all__ = ["measure_fan_out"]

_WATCHERS: Final = 100
_BURST: Final = 1000
_RATE: Final = 20.0
_STEADY_SECONDS: Final = 1.5
_CONNECTIONS: Final = 64
_MICROSECONDS: Final = 1e6
_NANOSECONDS: Final = 1e9
_KIB_A_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class _Setting:
    """A site with its watchers."""

    site: Site
    poster: Poster
    halves: Sequence[tuple[Audience, str]]
    """The watchers, and their gateways."""

    async def open(self) -> None:
        for watching, address in self.halves:
            await watching.open(address, _WATCHERS // len(self.halves))

    async def expect(self, count: int, *, is_timed: bool = False) -> None:
        for watching, _ in self.halves:
            await watching.expect(count, is_timed=is_timed)

    async def see(self) -> Sequence[Sight]:
        return await asyncio.gather(*(watching.see() for watching, _ in self.halves))


async def measure_fan_out(config: GatewayConfig, folder: Path, rounds: int) -> list[Row]:
    """Send notifications to watchers.

    Args:
        config: The settings of a gateway.
        folder: The folder for all files.
        rounds: The number of rounds.

    Raises:
        RuntimeError: A NATS server did not start, a notification was rejected or a stream ended.
        ExceptionGroup: A gateway did not start.
        TimeoutError: A watcher did not get everything.
    """
    async with _settings(config, folder) as settings:
        return [*await _bursts(settings, rounds), *await _steadily(settings, rounds)]


@asynccontextmanager
async def _settings(config: GatewayConfig, folder: Path) -> AsyncIterator[list[_Setting]]:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage.open(config, folder))
        of_there, of_both = [await stage.one_server(name) for name in ("there", "both")]
        # Of two gateways, D1 notifies the first.
        sites = await started(
            stage.alone(),
            stage.sharing("R1, watchers there", of_there, gateways=2),
            stage.sharing("R1, half of them there", of_both, gateways=2),
        )
        places = zip(sites, ((0, 0), (1, 1), (0, 1)), strict=True)
        yield [await _setting(stack, site, where, config.pki) for site, where in places]


async def _setting(stack: AsyncExitStack, site: Site, where: Sequence[int], pki: Pki) -> _Setting:
    poster = await stack.enter_async_context(posting(site.gateways[0].edge, pki, _CONNECTIONS))
    halves = [(await stack.enter_async_context(audience(pki)), site.gateways[number].grpc) for number in where]
    return _Setting(site, poster, halves)


async def _bursts(settings: Sequence[_Setting], rounds: int) -> list[Row]:
    before: list[float] = []
    for setting in settings:
        await setting.poster.burst(_BURST)
        before.append(setting.site.rss_mib())
        await setting.open()
        # Memory allocated for the first round serves the others.
        await _burst(setting)
    found: list[list[Mapping[str, float]]] = [[] for _ in settings]
    for _ in range(rounds):
        for setting, kept in zip(settings, found, strict=True):
            kept.append(await _burst(setting))
    case = f"{_WATCHERS} watchers, burst of {_BURST:,}"
    return [
        _row(setting, case, kept, (max(each["rss_mib"] for each in kept) - rss) * _KIB_A_MIB / _WATCHERS)
        for setting, kept, rss in zip(settings, found, before, strict=True)
    ]


async def _burst(setting: _Setting) -> Mapping[str, float]:
    await setting.expect(_BURST)
    spent = _Spent(setting.site)
    began_ns = time.monotonic_ns()
    await setting.poster.burst(_BURST)
    seconds = (max(sight.last_ns for sight in await setting.see()) - began_ns) / _NANOSECONDS
    return {
        "per_second": _BURST * _WATCHERS / seconds,
        "rss_mib": setting.site.rss_mib(),
        **spent.since(_BURST * _WATCHERS),
    }


async def _steadily(settings: Sequence[_Setting], rounds: int) -> list[Row]:
    found: list[list[Mapping[str, float]]] = [[] for _ in settings]
    for _ in range(rounds):
        for setting, kept in zip(settings, found, strict=True):
            kept.append(await _steady(setting))
    case = f"{_WATCHERS} watchers, {_RATE:.0f}/s"
    return [_row(setting, case, kept) for setting, kept in zip(settings, found, strict=True)]


async def _steady(setting: _Setting) -> Mapping[str, float]:
    count = round(_RATE * _STEADY_SECONDS)
    await setting.expect(count, is_timed=True)
    spent = _Spent(setting.site)
    await setting.poster.steadily(count, _RATE)
    sights = await setting.see()
    return {
        **{name: max(getattr(sight, name) for sight in sights) for name in ("p50_ms", "p95_ms", "p99_ms")},
        **spent.since(count * _WATCHERS),
    }


class _Spent:
    """The processor time of a site from now on."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._gateways = site.cpu_seconds()
        self._nats = site.nats_cpu_seconds()

    def since(self, delivered: int) -> Mapping[str, float]:
        """Return the figures per delivery."""
        return {
            "cpu_us": _MICROSECONDS * (self._site.cpu_seconds() - self._gateways) / delivered,
            "nats_cpu_us": _MICROSECONDS * (self._site.nats_cpu_seconds() - self._nats) / delivered,
        }


def _row(setting: _Setting, case: str, rounds: Sequence[Mapping[str, float]], kib_a_watcher: float = 0.0) -> Row:
    figures = {name: [each[name] for each in rounds] for name in rounds[0]}
    more = {"nats_cpu_us": figures.pop("nats_cpu_us")}
    if kib_a_watcher:
        more["kib_a_watcher"] = [kib_a_watcher]
    return Row(SCENARIO, case, setting.site.name, **figures, more=more)
