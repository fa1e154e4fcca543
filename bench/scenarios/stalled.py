"""The effect of one watcher that stops reading on the others' latency.

On a busy machine the 99th percentile differs more from second to second than the effect itself. So two gateways get
the same load at the same time, and one of them has a stalled watcher: other activity affects both. They swap roles from
window to window, and the percentiles are taken over all windows of a kind together. Each window starts the same for
both: a watcher requests the log from its beginning and stalls. At one gateway it stays for the window, at the other it
disconnects.

This does not show what a stalled watcher takes of the whole machine; ``cpu_us`` does.

The stall itself is verified by the gateway's count of notifications handed to streams: during a window it must equal
what the others got, while the stalled watcher lacks more notifications than the gateway reads for it at a time.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bench.clients.audience import Audience, audience
from bench.clients.posting import Poster, posting
from bench.clients.watching import percentile_ms
from bench.common.processes import Ground
from bench.common.results import Row
from bench.common.usage import cpu_seconds
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.gateway import GatewayProcess

__all__ = ["Window", "measure_stalled", "stalled_rows"]

_SCENARIO: Final = "fan-out"
_SERVER: Final = "gateway"
_WATCHERS: Final = 10
_RATE: Final = 100.0
_SECONDS: Final = 1.0
_CONNECTIONS: Final = 16
_CASE: Final = f"{_WATCHERS} watchers, {_RATE:.0f}/s"

_TURNS: Final = (False, True, True, False, True, False, False, True)
"""Whether the first gateway has the stalled watcher, window by window of a block."""
_BLOCKS: Final = 5

# The first batch is small enough to arrive, which shows that the stalled watcher has started.
_BEGINNING: Final = notification.WatchNotificationsRequest(
    position=notification.START_POSITION_EARLIEST, max_batch_size=10
)
_BACKLOG: Final = 3000
_READ_AT_A_TIME: Final = 1000
_REST_SECONDS: Final = 0.1
_LONGEST_REST_SECONDS: Final = 20.0

_HANDED: Final = re.compile(r"^d1_gateway_notifications_delivered_total (\S+)$", re.MULTILINE)
_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Window:
    """A short time under load."""

    is_beside: bool
    """Whether a stalled watcher was connected."""
    latencies_ns: Sequence[int]
    """From post to watcher, over all reading watchers and all notifications."""
    cpu_seconds: float
    """The gateway's processor time."""


async def measure_stalled(folder: Path) -> list[Row]:
    """Compare the others' latency with and without a watcher that does not read.

    Args:
        folder: The folder of keys and logs.

    Raises:
        RuntimeError: A gateway did not start.
        ExceptionGroup: A gateway rejected a notification or ended a stream, or a watcher missed some or did not stall.
    """
    async with AsyncExitStack() as stack:
        stages = [await stack.enter_async_context(_stage(folder / name)) for name in ("first", "second")]
        # The first window of each warms up.
        await _window(stages, beside=stages[0])
        blocks = [
            [each for turn in _TURNS for each in await _window(stages, beside=stages[0 if turn else 1])]
            for _ in range(_BLOCKS)
        ]
    return stalled_rows(blocks)


async def _window(stages: Sequence["_Stage"], beside: "_Stage") -> list[Window]:
    together = asyncio.Barrier(len(stages))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stage.window(together, is_beside=stage is beside)) for stage in stages]
    return [task.result() for task in tasks]


@asynccontextmanager
async def _stage(folder: Path) -> AsyncIterator["_Stage"]:
    """Run a gateway with a filled event log, and watchers at its end."""
    await asyncio.to_thread(folder.mkdir)
    ground = await Ground.prepare(folder)
    pki = ground.config.pki
    async with (
        ground.gateway() as served,
        posting(served.edge, pki, _CONNECTIONS) as poster,
        audience(pki) as others,
        audience(pki) as stalling,
        aiohttp.ClientSession(served.admin) as operators,
    ):
        await poster.burst(_BACKLOG)
        await others.open(served.grpc, _WATCHERS)
        yield _Stage(served, poster, others, stalling, operators)


@dataclass(frozen=True, slots=True)
class _Stage:
    """A gateway, its poster and its watchers."""

    gateway: GatewayProcess
    poster: Poster
    others: Audience
    stalling: Audience
    operators: aiohttp.ClientSession

    async def window(self, together: asyncio.Barrier, *, is_beside: bool) -> Window:
        """Apply the load for a window, together with the other gateway."""
        await self._stall()
        if not is_beside:
            await self.stalling.close()
        handed = await self._rest()
        await together.wait()
        measured = await self._steadily(is_beside=is_beside)
        await together.wait()
        if is_beside:
            # Fails if its stream has ended.
            await self.stalling.see()
        if (more := await self._handed() - handed) != len(measured.latencies_ns):
            raise RuntimeError(f"No stall: {more} handed over, {len(measured.latencies_ns)} to the others.")
        if is_beside:
            await self.stalling.close()
        return measured

    async def _stall(self) -> None:
        """Connect one more watcher, of everything, that does not read."""
        before = await self._handed()
        await self.stalling.expect(1, watchers=1)
        await self.stalling.ask(self.gateway.grpc, _BEGINNING, reads=False)
        await self.stalling.see()
        handed = await self._rest() - before
        if handed > _BACKLOG - _READ_AT_A_TIME:
            raise RuntimeError(f"No stall: the watcher got {handed} of more than {_BACKLOG}.")

    async def _steadily(self, *, is_beside: bool) -> Window:
        count = round(_RATE * _SECONDS)
        await self.others.expect(count, is_timed=True)
        cpu = cpu_seconds(self.gateway.pid)
        await self.poster.steadily(count, _RATE)
        sight = await self.others.see()
        return Window(is_beside, sight.latencies_ns, cpu_seconds(self.gateway.pid) - cpu)

    async def _rest(self) -> int:
        """Wait until the gateway hands over nothing more. Return the total so far."""
        handed = await self._handed()
        async with asyncio.timeout(_LONGEST_REST_SECONDS):
            while True:
                await asyncio.sleep(_REST_SECONDS)
                before, handed = handed, await self._handed()
                if handed == before:
                    return handed

    async def _handed(self) -> int:
        """Return how many notifications the gateway has handed to streams, counted once per stream."""
        async with self.operators.get("/metrics") as answer:
            found = _HANDED.search(await answer.text())
        if found is None:
            raise RuntimeError("The gateway has no metric of notifications handed to streams.")
        return int(float(found[1]))


def stalled_rows(blocks: Sequence[Sequence[Window]]) -> list[Row]:
    """Return the rows with and without a stalled watcher from windows of both kinds in each block.

    The percentiles, and the ratio of the 99th ones, are over all windows of a kind together. The ratios of the single
    blocks show how reliable that ratio is.
    """
    windows = [window for block in blocks for window in block]
    more = {
        "p99_over_that_without": [_p99_ratio(windows)],
        "ratio_in_a_block": [_p99_ratio(block) for block in blocks],
    }
    return [
        _row(_CASE + ", none stalled", [_of(block, is_beside=False) for block in blocks]),
        _row(_CASE + ", beside one that stalls", [_of(block, is_beside=True) for block in blocks], more),
    ]


def _row(case: str, blocks: Sequence[Sequence[Window]], more: dict[str, list[float]] | None = None) -> Row:
    pooled = _pooled(window for block in blocks for window in block)
    return Row(
        _SCENARIO,
        case,
        _SERVER,
        p50_ms=[percentile_ms(pooled, 50)],
        p95_ms=[percentile_ms(pooled, 95)],
        p99_ms=[percentile_ms(pooled, 99)],
        cpu_us=[_MICROSECONDS * sum(each.cpu_seconds for each in block) / len(_pooled(block)) for block in blocks],
        more=more or {},
    )


def _p99_ratio(windows: Iterable[Window]) -> float:
    held = list(windows)
    without, beside = (_pooled(_of(held, is_beside=each)) for each in (False, True))
    return percentile_ms(beside, 99) / percentile_ms(without, 99)


def _of(windows: Iterable[Window], *, is_beside: bool) -> list[Window]:
    return [window for window in windows if window.is_beside == is_beside]


def _pooled(windows: Iterable[Window]) -> list[int]:
    return sorted(latency for window in windows for latency in window.latencies_ns)
