"""A gateway whose traffic with D1 and the 3-D Secure server passes through wires of the test."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc

from sandbox import Sandbox
from sandbox.common.tls import browser_context, client_context, server_context
from sandbox.d1.model.contract import CardState, ResumeReason
from tests.contract.card_rpcs import prepare
from tests.fault.calls import QUERIES
from tests.fault.wire import Wire
from tests.running import Running, running_gateway, settings_for

__all__ = ["PATIENCE_SECONDS", "Faulty", "at_once", "faulty_gateway", "recovery_seconds", "until"]

PATIENCE_SECONDS = 30.0
"""A limit that nothing here exceeds even on a busy machine."""
_AT_ONCE_SECONDS = 1.0
_MEASUREMENTS = 3

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Faulty:
    """The gateway, and the wires to its upstreams."""

    running: Running
    d1: Wire
    threeds: Wire

    @property
    def sandbox(self) -> Sandbox:
        return self.running.sandbox

    def wire(self, upstream: str) -> Wire:
        """Return the wire to ``d1`` or ``threeds``."""
        wire: Wire = getattr(self, upstream)
        return wire

    def sent(self, upstream: str = "d1") -> int:
        """Return the number of requests that passed, apart from those for tokens."""
        return sum(not request.path.endswith("/token") for request in self.wire(upstream).requests)

    @property
    def tokens_requested(self) -> int:
        return sum(request.path.endswith("/token") for request in self.d1.requests)

    async def recover(self) -> None:
        """Make everything work again, whatever a test did, and forget what passed so far."""
        self.sandbox.faults.clear()
        if self.sandbox.store.card("card-active").state is CardState.SUSPENDED:
            self.sandbox.store.resume("card-active", ResumeReason.USER_DECISION)
        for upstream, query in QUERIES.items():
            await self.wire(upstream).mend()
            await recovery_seconds(lambda query=query: query(self.running))  # type: ignore[misc]
            self.wire(upstream).requests.clear()


@asynccontextmanager
async def faulty_gateway(
    folder: Path,
    *,
    d1: Mapping[str, Any] | None = None,
    threeds: Mapping[str, Any] | None = None,
    circuit_failures: int = 10,
    drain_grace_seconds: float = 5.0,
) -> AsyncIterator[Faulty]:
    """Run a sandbox and a gateway, with some settings of ``[d1]`` and ``[threeds]`` overridden."""
    async with Sandbox.start(folder / "keys") as sandbox:
        prepare(sandbox.store)
        pki = sandbox.pki
        d1_tls = server_context(pki.d1_server, pki.gateway_client_ca), client_context(pki.gateway_client, pki.server_ca)
        threeds_tls = server_context(pki.threeds_server), browser_context(pki.server_ca)
        async with (
            Wire.laid(_port(sandbox.d1_url), *d1_tls) as d1_wire,
            Wire.laid(_port(sandbox.threeds_url), *threeds_tls) as threeds_wire,
        ):
            used = settings_for(
                sandbox, folder, circuit_failures=circuit_failures, drain_grace_seconds=drain_grace_seconds
            )
            assert used.threeds is not None
            changes = {
                "d1": used.d1.model_copy(update={"base_url": d1_wire.url, **(d1 or {})}),
                "threeds": used.threeds.model_copy(update={"base_url": threeds_wire.url, **(threeds or {})}),
            }
            async with running_gateway(sandbox, used.model_copy(update=changes)) as running:
                yield Faulty(running, d1_wire, threeds_wire)


async def at_once(call: Callable[[], Awaitable[_Result]]) -> _Result:
    """Make a call that must end at once; again if it did not, as the machine may have been busy. Return its result."""
    for _ in range(_MEASUREMENTS):
        began = time.perf_counter()
        result = await call()
        if time.perf_counter() - began < _AT_ONCE_SECONDS:
            return result
    raise AssertionError(f"none of {_MEASUREMENTS} calls ended within {_AT_ONCE_SECONDS} s")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  a request that passes, a line that is logged: neither sends an event
            await asyncio.sleep(0.01)


async def recovery_seconds(call: Callable[[], Awaitable[object]]) -> float:
    """Make separate calls, some twenty per second, until one succeeds; return how long that took."""
    began = time.perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
            else:
                return time.perf_counter() - began


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
