"""What one watcher that stops reading does to the others' latency.

On a machine that does other things too, the 99th percentile of a second differs from that of the next by more than is
to be shown. So two gateways get the same load at the same time, and one of them has a stalled watcher besides: whatever
else happens touches both. They change parts from window to window, and what was measured in all windows of a kind is
taken together before the percentiles are. What goes before a window is the same for both: a watcher asks for the log
from its beginning and stalls. At one gateway it stays for the window, from the other it goes.

What a stalled watcher took of the whole machine would not be seen that way; that is what ``cpu_us`` is for.

That it stalls is not taken for granted, but seen by what the gateway counts as handed to streams: in a window that is
what the others got and nothing else, while it lacks more notifications than the gateway reads for it at a time.
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
"""Whether the first gateway has the stalled one, window by window of a block."""
_BLOCKS: Final = 5

# The first batch is small enough to arrive: by that the stalled one is seen to have begun.
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
    """A short time under the load."""

    is_beside: bool
    """Whether a stalled watcher was there."""
    latencies_ns: Sequence[int]
    """From the post to the watcher, over all watchers that read and all notifications."""
    cpu_seconds: float
    """The gateway's processor time."""


async def measure_stalled(folder: Path) -> list[Row]:
    """Compare the others' latency without and beside a watcher that does not read.

    Args:
        folder: Where keys and logs go.

    Raises:
        RuntimeError: A gateway did not start.
        ExceptionGroup: It refused a notification or ended a stream, a watcher did not get everything or did not stall.
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
    """Have a gateway with something in its log, and watchers at its end."""
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
    """A gateway, what is posted to it, and who watches."""

    gateway: GatewayProcess
    poster: Poster
    others: Audience
    stalling: Audience
    operators: aiohttp.ClientSession

    async def window(self, together: asyncio.Barrier, *, is_beside: bool) -> Window:
        """Put on the load for a window, together with the other gateway."""
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
            raise RuntimeError(f"It does not stall: {more} handed over, {len(measured.latencies_ns)} to the others.")
        if is_beside:
            await self.stalling.close()
        return measured

    async def _stall(self) -> None:
        """Have one more watcher, that wants everything and does not read it."""
        before = await self._handed()
        await self.stalling.expect(1, watchers=1)
        await self.stalling.ask(self.gateway.grpc, _BEGINNING, reads=False)
        await self.stalling.see()
        handed = await self._rest() - before
        if handed > _BACKLOG - _READ_AT_A_TIME:
            raise RuntimeError(f"It does not stall: it was handed {handed} of {_BACKLOG} and more.")

    async def _steadily(self, *, is_beside: bool) -> Window:
        count = round(_RATE * _SECONDS)
        await self.others.expect(count, is_timed=True)
        cpu = cpu_seconds(self.gateway.pid)
        await self.poster.steadily(count, _RATE)
        sight = await self.others.see()
        return Window(is_beside, sight.latencies_ns, cpu_seconds(self.gateway.pid) - cpu)

    async def _rest(self) -> int:
        """Wait until the gateway hands over nothing more. Returns what it has handed over so far."""
        handed = await self._handed()
        async with asyncio.timeout(_LONGEST_REST_SECONDS):
            while True:
                await asyncio.sleep(_REST_SECONDS)
                before, handed = handed, await self._handed()
                if handed == before:
                    return handed

    async def _handed(self) -> int:
        """Ask how many notifications the gateway has handed to streams, once for each stream."""
        async with self.operators.get("/metrics") as answer:
            found = _HANDED.search(await answer.text())
        if found is None:
            raise RuntimeError("The gateway does not tell what it handed to streams.")
        return int(float(found[1]))


def stalled_rows(blocks: Sequence[Sequence[Window]]) -> list[Row]:
    """Make the rows without and beside a stalled watcher from windows of both kinds in each block.

    The percentiles, and the ratio of the 99th ones, are of all windows of a kind together. How far that ratio can be
    trusted is told by the ratios of the blocks, each by itself.
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
