"""Deliberate leaks, one in each medium, by the same means as a real one."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import grpc
from aiohttp import web
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter, generate_latest

from gateway.telemetry import tracing
from issuer.callback.v1 import messages_pb2 as callback
from tests.e2e.canary_media import Evidence, Medium, collect_response

__all__ = ["PLANTERS", "Plot"]

_LEAK: Final = """
import os, structlog
from gateway.bootstrap import logging as logs
logs.configure("debug")
print(os.environ["CANARY"] if os.environ["WHERE"] == "STDOUT" else "")
if os.environ["WHERE"] == "LOG":
    structlog.get_logger().debug("leak", card=os.environ["CANARY"])
"""


@dataclass(frozen=True, slots=True)
class Plot:
    """The canary to plant, and the place."""

    evidence: Evidence
    canary: str
    folder: Path


async def _plant_in_output(plot: Plot, medium: Medium) -> None:
    log = plot.folder / "log"
    environment = {**os.environ, "CANARY": plot.canary, "WHERE": medium.name}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _LEAK, stderr=stderr, env=environment)
        assert await process.wait() == 0
    plot.evidence.add(Medium.LOG, "log", log.read_bytes())


async def _plant_on_stdout(plot: Plot) -> None:
    await _plant_in_output(plot, Medium.STDOUT)


async def _plant_in_log(plot: Plot) -> None:
    await _plant_in_output(plot, Medium.LOG)


async def _plant_in_files(plot: Plot) -> None:
    """Plant it in the database's -wal only."""
    with closing(sqlite3.connect(plot.folder / "events.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE events (payload BLOB)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with database:
            database.execute("INSERT INTO events VALUES (?)", [b"\x0a\x10" + plot.canary.encode() + b"\x12"])
        assert plot.canary.encode() not in (plot.folder / "events.db").read_bytes()
        plot.evidence.add_files(plot.folder)


async def _plant_in_metrics(plot: Plot) -> None:
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ["card"], registry=registry).labels(plot.canary).inc()
    async with _serving(lambda: web.Response(body=generate_latest(registry))) as url:
        await plot.evidence.add_admin(url)


async def _plant_in_traces(plot: Plot) -> None:
    traces = tracing.configured()
    with traces.span("call", SpanKind.INTERNAL) as span:
        span.set_attribute("card", plot.canary)
    # Blocks until the collector, which this loop serves, responds.
    await asyncio.to_thread(traces.close)


async def _plant_in_status(plot: Plot) -> None:
    async def fail(_request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        # In binary metadata, like the details of a status.
        await context.abort(grpc.StatusCode.INTERNAL, "a fault", (("fault-bin", b"\x00" + plot.canary.encode()),))

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Call": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Canary", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/Canary/Call")
            try:
                await call(b"", timeout=10)
            except grpc.aio.AioRpcError as error:
                plot.evidence.add_rpc_error("Call", error)
    finally:
        await server.stop(None)


async def _plant_in_receipt(plot: Plot) -> None:
    violation = callback.ReplyViolation(field="card_credentials", description=f"{plot.canary} is no card number")
    plot.evidence.add_acknowledgement(violation)


async def _plant_in_answer(plot: Plot) -> None:
    async with (
        _serving(lambda: web.json_response({"error": f"{plot.canary} is not known"}, status=404)) as url,
        aiohttp.ClientSession() as session,
        session.get(url) as response,
    ):
        await collect_response(plot.evidence, "response", response)


@asynccontextmanager
async def _serving(response: Callable[[], web.Response]) -> AsyncIterator[str]:
    async def serve(_request: web.BaseRequest) -> web.StreamResponse:
        return response()

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


PLANTERS: Final[Mapping[Medium, Callable[[Plot], Awaitable[None]]]] = MappingProxyType(
    {
        Medium.STDOUT: _plant_on_stdout,
        Medium.LOG: _plant_in_log,
        Medium.FILES: _plant_in_files,
        Medium.ADMIN: _plant_in_metrics,
        Medium.TRACES: _plant_in_traces,
        Medium.RPC_STATUS: _plant_in_status,
        Medium.ACKNOWLEDGEMENTS: _plant_in_receipt,
        Medium.EDGE_RESPONSES: _plant_in_answer,
    }
)
