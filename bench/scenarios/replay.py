"""How a watcher catches up after an absence: ``python -m bench.scenarios.replay [--quick]``.

One watcher resumes after a cursor, from a few and from a million notifications back. The log is filled beforehand, and
the gateway has read nothing of it. The baseline sends the same bytes from memory: the gateway's messages or, for a
million, 10,000 of them repeatedly.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.clients.audience import Audience, audience
from bench.common.processes import Ground, line, python
from bench.common.report import run_alone
from bench.common.results import Row
from bench.common.usage import cpu_seconds, rss_mib
from bench.scenarios.stored import Filled, fill
from gateway.notifications import cursor
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Replay", "measure_replay", "replay", "replay_row"]

_SCENARIO: Final = "replay"
_FEW: Final = 10
_MANY: Final = 1_000_000
_RECORDED: Final = 10_000
_FEW_ROUNDS: Final = 15
_MANY_ROUNDS: Final = 3
_MILLISECONDS: Final = 1e3
_MICROSECONDS: Final = 1e6
_NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Replay:
    """The figures of one watch. Times count from its request, over an established connection."""

    notifications: int
    first_seconds: float
    last_seconds: float
    cpu_seconds: float
    """The server's."""
    rss_mib: float


async def measure_replay(folder: Path, *, quick: bool) -> list[Row]:
    """Measure the replay.

    Args:
        folder: The folder of keys and the event log; about 1 GB, little for a quick run.
        quick: Measure the small distance only.

    Raises:
        RuntimeError: A server did not start or ended a stream.
        TimeoutError: The watcher did not get everything.
    """
    ground = await Ground.prepare(folder)
    filled = await asyncio.to_thread(fill, ground.config.event_log, _RECORDED if quick else _MANY + _FEW)
    async with ground.gateway() as served, audience(ground.config.pki) as watching:

        async def resume(back: int, record: Path | None = None) -> Replay:
            return await replay(watching, served.grpc, served.pid, filled, back, record)

        messages = folder / "messages"
        warm = await resume(_FEW, messages)
        async with _bare(ground, messages) as bare:
            few = [(await resume(_FEW), await bare.send(_FEW)) for _ in range(_FEW_ROUNDS)]
        rows = _rows(f"{warm.notifications} back", few)
        if not quick:
            await resume(_RECORDED, messages)
            async with _bare(ground, messages, _MANY // _RECORDED) as bare:
                many = [(await resume(_MANY), await bare.send(_MANY)) for _ in range(_MANY_ROUNDS)]
            rows += _rows(f"{_MANY:,} back", many)
    return rows


async def replay(
    watching: Audience, address: str, pid: int, filled: Filled, back: int, record: Path | None = None
) -> Replay:
    """Let a watcher resume before the end of a gateway's event log.

    Args:
        watching: Has no connected watcher.
        address: The gateway's address.
        pid: The gateway's process.
        filled: The event log.
        back: The distance in notifications.
        record: A file for the messages, if they are to be sent again.
    """
    after = cursor.encode(filled.log_id, filled.last - back)
    return await _watch(
        watching, address, pid, notification.WatchNotificationsRequest(after_cursor=after), back, record
    )


async def _watch(
    watching: Audience,
    address: str,
    pid: int,
    request: notification.WatchNotificationsRequest,
    count: int,
    record: Path | None = None,
) -> Replay:
    await watching.expect(count, watchers=1, record=record)
    cpu = cpu_seconds(pid)
    began_ns = await watching.ask(address, request)
    sight = await watching.see()
    spent = cpu_seconds(pid) - cpu
    await watching.close()
    return Replay(
        count,
        (sight.first_ns - began_ns) / _NANOSECONDS,
        (sight.last_ns - began_ns) / _NANOSECONDS,
        spent,
        rss_mib(pid),
    )


@dataclass(frozen=True, slots=True)
class _Bare:
    """A bare stream with its messages in memory."""

    address: str
    pid: int
    watching: Audience

    async def send(self, count: int) -> Replay:
        request = notification.WatchNotificationsRequest(position=notification.START_POSITION_EARLIEST)
        return await _watch(self.watching, self.address, self.pid, request, count)


@asynccontextmanager
async def _bare(ground: Ground, messages: Path, times: int = 1) -> AsyncIterator[_Bare]:
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(python("bench.baselines.bare_watch", "memory", ground.settings))
        watching = await stack.enter_async_context(audience(ground.config.pki))
        address, _ = (await line(process)).decode().split()
        if process.stdin is not None:
            process.stdin.write(f"{messages} {times}\n".encode())
        await line(process)
        yield _Bare(address, process.pid, watching)


def _rows(case: str, rounds: Sequence[tuple[Replay, Replay]]) -> list[Row]:
    return [
        replay_row(_SCENARIO, case, "gateway", [ours for ours, _ in rounds]),
        replay_row(_SCENARIO, case, "bare stream", [theirs for _, theirs in rounds]),
    ]


def replay_row(scenario: str, case: str, server: str, rounds: Sequence[Replay]) -> Row:
    """Return the row of one server."""
    return Row(
        scenario,
        case,
        server,
        per_second=[each.notifications / each.last_seconds for each in rounds],
        # For a few, it is less than a tick.
        cpu_us=[_MICROSECONDS * each.cpu_seconds / each.notifications for each in rounds if each.notifications > _FEW],
        rss_mib=[each.rss_mib for each in rounds],
        more={
            "first_ms": [_MILLISECONDS * each.first_seconds for each in rounds],
            "last_ms": [_MILLISECONDS * each.last_seconds for each in rounds],
        },
    )


if __name__ == "__main__":
    run_alone(measure_replay)
