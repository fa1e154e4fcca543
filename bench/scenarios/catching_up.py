"""The cost of fan-out alone: many watchers that read the same part of the event log at the same moment.

Nothing arrives meanwhile, so a bare stream that sends the same bytes from memory has the same work to do: the
difference is the cost of the event log, its cursors, filters, access and batch cache. The notifications are recent, as
for watchers that were briefly disconnected.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.clients.audience import Audience, audience
from bench.clients.posting import posting
from bench.common.processes import Ground, line, python
from bench.common.results import Row
from bench.common.usage import cpu_seconds, rss_mib
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["measure_catching_up"]

_SCENARIO: Final = "fan-out"
_NOTIFICATIONS: Final = 2_000
_CONNECTIONS: Final = 64
_ROUNDS: Final = 7
_MICROSECONDS: Final = 1e6
_NANOSECONDS: Final = 1e9
_ALL: Final = notification.WatchNotificationsRequest(position=notification.START_POSITION_EARLIEST)


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    address: str
    pid: int
    audience: Audience


@dataclass(frozen=True, slots=True)
class _Round:
    seconds: float
    cpu_seconds: float
    rss_mib: float
    messages: int


async def measure_catching_up(ground: Ground, watchers: Sequence[int]) -> list[Row]:
    """Let watchers catch up together, repeatedly, at the gateway and at a bare stream in turns.

    Args:
        ground: What the servers share.
        watchers: The number of watchers of each case.

    Raises:
        RuntimeError: A server did not start, rejected a notification or ended a stream.
        TimeoutError: A watcher did not get everything.
    """
    # They read the whole event log, so it must be a new one.
    config = replace(ground.config, event_log=ground.config.event_log.with_name("catching-up.db"))
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(replace(ground, config=config).gateway())
        poster = await stack.enter_async_context(posting(served.edge, ground.config.pki, _CONNECTIONS))
        await poster.burst(_NOTIFICATIONS)
        watching = await stack.enter_async_context(audience(ground.config.pki))
        gateway = _Server("gateway", served.grpc, served.pid, watching)
        messages = ground.folder / "messages"
        await _catch_up(gateway, 1, messages)
        process = await stack.enter_async_context(python("bench.baselines.bare_watch", "memory", ground.settings))
        address, _ = (await line(process)).decode().split()
        if process.stdin is not None:
            process.stdin.write(f"{messages} 1\n".encode())
        await line(process)
        watching = await stack.enter_async_context(audience(ground.config.pki))
        bare = _Server("bare stream", address, process.pid, watching)
        return [row for count in watchers for row in await _in_turns([gateway, bare], count)]


async def _in_turns(servers: Sequence[_Server], watchers: int) -> list[Row]:
    found: list[list[_Round]] = [[] for _ in servers]
    for number in range(-1, _ROUNDS):
        for server, kept in zip(servers, found, strict=True):
            taken = await _catch_up(server, watchers)
            # The first round warms up.
            if number >= 0:
                kept.append(taken)
    return [_row(server.name, watchers, rounds) for server, rounds in zip(servers, found, strict=True)]


async def _catch_up(server: _Server, watchers: int, record: Path | None = None) -> _Round:
    await server.audience.expect(_NOTIFICATIONS, watchers=watchers, record=record)
    cpu = cpu_seconds(server.pid)
    began_ns = await server.audience.ask(server.address, _ALL)
    sight = await server.audience.see()
    spent = cpu_seconds(server.pid) - cpu
    await server.audience.close()
    return _Round((sight.last_ns - began_ns) / _NANOSECONDS, spent, rss_mib(server.pid), sight.messages)


def _row(name: str, watchers: int, rounds: Sequence[_Round]) -> Row:
    delivered = _NOTIFICATIONS * watchers
    return Row(
        _SCENARIO,
        f"{watchers:,} watchers catch up on {_NOTIFICATIONS:,}",
        name,
        per_second=[delivered / each.seconds for each in rounds],
        cpu_us=[_MICROSECONDS * each.cpu_seconds / delivered for each in rounds],
        rss_mib=[each.rss_mib for each in rounds],
        more={"messages_a_watcher": [each.messages / watchers for each in rounds]},
    )
