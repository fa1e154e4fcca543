"""The cost of a call with more and more issuers, each with a caller and a grant of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from bench.common.processes import line, python
from bench.common.results import Row
from bench.common.usage import cpu_seconds, rss_mib
from bench.unary.child import Child, child
from bench.unary.gateway import GatewayOfTokens, Tokens
from sandbox.common.pki import Pki, make_pki
from sandbox.gateway import GatewayProcess

__all__ = ["measure_issuers"]

_COUNTS: Final = (1, 10, 50, 200)
_QUICK_COUNTS: Final = (1, 50)
_IN_FLIGHT: Final = 32
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 2
_CALLS: Final = 1_500
_LATEST_SECONDS: Final = 60.0
_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class _Site:
    """A gateway of some issuers, and a process of their callers."""

    issuers: int
    gateway: GatewayProcess
    callers: asyncio.subprocess.Process


@dataclass(frozen=True, slots=True)
class _Round:
    seconds: float
    cpu_seconds: float
    rss_mib: float


async def measure_issuers(scenario: str, folder: Path, *, quick: bool) -> list[Row]:
    """Suspend cards of so many issuers in turns, 32 calls in flight.

    Args:
        scenario: The scenario's name.
        folder: The folder for files.
        quick: Measure fewer numbers, in fewer rounds.

    Raises:
        RuntimeError: A server did not start, or a call failed.
    """
    await asyncio.to_thread(folder.mkdir)
    pki = await asyncio.to_thread(make_pki, folder / "keys")
    keys = (pki.d1_server.certificate, pki.d1_server.key, pki.gateway_client_ca)
    counts, rounds = (_QUICK_COUNTS, _QUICK_ROUNDS) if quick else (_COUNTS, _ROUNDS)
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(child(sys.executable, "-m", "bench.unary.upstream", *keys))
        # All at once, so that they are called in turns.
        sites = [await stack.enter_async_context(_calling(folder, pki, upstream, count)) for count in counts]
        found: list[list[_Round]] = [[] for _ in sites]
        for number in range(-1, rounds):
            for site, kept in zip(sites, found, strict=True):
                taken = await _round(site, upstream)
                # The first round fetches a token for each issuer.
                if number >= 0:
                    kept.append(taken)
        return [_row(scenario, site, kept) for site, kept in zip(sites, found, strict=True)]


@asynccontextmanager
async def _calling(folder: Path, pki: Pki, upstream: Child, count: int) -> AsyncIterator[_Site]:
    """Run a gateway of so many issuers, and their callers, for the duration of the block."""
    folder = folder / str(count)
    await asyncio.to_thread(folder.mkdir)
    issuers = [f"ISSUER{number:04}" for number in range(count)]
    tokens = Tokens.issue(folder, issuers)
    made = GatewayOfTokens.make(folder, pki, upstream.ports, tokens.jwks_file, has_tls=True)
    config = replace(made, issuer_id=issuers[0], further_issuers=issuers[1:])
    config.policy.write_text("".join(map(_grant, issuers)))
    callers_file = folder / "callers.json"
    callers_file.write_bytes(orjson.dumps([(issuer_id, tokens.bearers[issuer_id]) for issuer_id in issuers]))
    async with (
        await GatewayProcess.start(config, folder) as gateway,
        python("bench.clients.callers", gateway.grpc, pki.server_ca, callers_file) as callers,
    ):
        yield _Site(count, gateway, callers)


def _grant(issuer_id: str) -> str:
    return f'[[callers]]\nidentity = "jwt:{issuer_id}"\ngrants = [{{ rpcs = ["*"], issuers = ["{issuer_id}"] }}]\n'


async def _round(site: _Site, upstream: Child) -> _Round:
    if site.callers.stdin is None:
        raise RuntimeError("The callers have no standard input.")
    before, cpu = await upstream.count(), cpu_seconds(site.gateway.pid)
    site.callers.stdin.write(f"{_CALLS} {_IN_FLIGHT}\n".encode())
    seconds = float(await line(site.callers, _LATEST_SECONDS))
    spent, made = cpu_seconds(site.gateway.pid) - cpu, await upstream.count() - before
    if made != _CALLS:
        raise RuntimeError(f"The gateway responded to {_CALLS}, but made {made}.")
    return _Round(seconds, spent, rss_mib(site.gateway.pid))


def _row(scenario: str, site: _Site, rounds: Sequence[_Round]) -> Row:
    return Row(
        scenario,
        f"SuspendCard, {site.issuers} issuer{'' if site.issuers == 1 else 's'}",
        "gateway",
        per_second=[_CALLS / each.seconds for each in rounds],
        cpu_us=[_MICROSECONDS * each.cpu_seconds / _CALLS for each in rounds],
        rss_mib=[each.rss_mib for each in rounds],
    )
