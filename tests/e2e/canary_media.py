"""Everything that leaves a gateway, or stays of it, gathered to be searched."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import aiohttp
import grpc
from aiohttp import web
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.canary_values import Canaries

__all__ = ["Evidence", "Medium", "collector", "seen_answer"]


class Medium(Enum):
    """Where something may be found."""

    STDOUT = auto()
    LOG = auto()
    """Standard error."""
    FILES = auto()
    """The database, its -wal and -shm, and whatever else the gateway writes."""
    ADMIN = auto()
    """Metrics and probes."""
    TRACES = auto()
    RPC_STATUS = auto()
    """Status, details and metadata of calls that failed; metadata of those that did not."""
    RECEIPTS = auto()
    """What handlers are told of their replies."""
    EDGE_ANSWERS = auto()
    """Bodies of errors to D1; headers of all answers."""


@dataclass(frozen=True, slots=True)
class _Item:
    medium: Medium
    where: str
    data: bytes


@dataclass(slots=True)
class Evidence:
    """What was gathered."""

    items: list[_Item] = field(default_factory=list)

    def add(self, medium: Medium, where: str, data: bytes | str) -> None:
        """Gather something."""
        self.items.append(_Item(medium, where, data.encode() if isinstance(data, str) else data))

    def add_files(self, folder: Path, but: Collection[str] = ()) -> None:
        """Gather all files of a folder, but for some."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in but:
                self.add(Medium.FILES, path.name, path.read_bytes())

    def add_rpc_error(self, where: str, error: grpc.aio.AioRpcError) -> None:
        """Gather all that a failed call tells its caller."""
        self.add(Medium.RPC_STATUS, where, f"{error.code()} {error.details()} {error.debug_error_string()}")
        self.add_metadata(where, error.initial_metadata())
        self.add_metadata(where, error.trailing_metadata())

    def add_metadata(self, where: str, metadata: grpc.aio.Metadata | None) -> None:
        """Gather metadata, of which some are bytes."""
        for key, value in metadata or ():
            self.add(Medium.RPC_STATUS, where, key)
            self.add(Medium.RPC_STATUS, where, value)

    def add_receipt(self, receipt: Message) -> None:
        """Gather what a handler is told, as bytes: its text would leave things out."""
        self.add(Medium.RECEIPTS, "receipt", receipt.SerializeToString())

    async def add_admin(self, url: str) -> None:
        """Gather what the admin port serves."""
        async with aiohttp.ClientSession() as session:
            for path in ("/metrics", "/readyz", "/healthz"):
                async with session.get(url + path) as answer:
                    self.add(Medium.ADMIN, path, await answer.read())

    def of(self, medium: Medium) -> list[bytes]:
        """Return what was gathered of a medium."""
        return [item.data for item in self.items if item.medium is medium]

    def hits(self, canaries: Canaries) -> Mapping[tuple[str, Medium], set[str]]:
        """Tell which canary stands in which medium, and where there."""
        # Much is the same each time: nothing is searched twice.
        found: dict[bytes, set[str]] = {}
        hits: dict[tuple[str, Medium], set[str]] = {}
        for item in self.items:
            if item.data not in found:
                found[item.data] = canaries.hits(item.data)
            for name in found[item.data]:
                hits.setdefault((name, item.medium), set()).add(item.where)
        return hits


async def seen_answer(evidence: Evidence, where: str, answer: aiohttp.ClientResponse) -> bytes:
    """Gather an answer of the edge, but for the body of a good one: that is for D1. Returns the body."""
    body = await answer.read()
    evidence.add(Medium.EDGE_ANSWERS, where, f"{answer.status} {answer.reason} {answer.raw_headers!r}")
    if not answer.ok:
        evidence.add(Medium.EDGE_ANSWERS, where, body)
    return body


@asynccontextmanager
async def collector(evidence: Evidence) -> AsyncIterator[str]:
    """Collect traces for as long as the block lasts; gives the address, for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""

    async def collect(request: web.Request) -> web.Response:
        body = await request.read()
        # Makes sure that it can be read, so that it can be searched.
        ExportTraceServiceRequest.FromString(body)
        evidence.add(Medium.TRACES, "spans", body)
        evidence.add(Medium.TRACES, "headers of spans", repr(request.raw_headers))
        return web.Response()

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
