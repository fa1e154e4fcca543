"""Everything that leaves a gateway or stays on disk, collected for the search."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import aiohttp
import grpc
from aiohttp import web
from aiohttp.test_utils import TestServer
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.canary_values import Canaries

__all__ = ["Evidence", "Medium", "collect_response", "collector"]


class Medium(Enum):
    """A place where a canary may appear."""

    STDOUT = auto()
    LOG = auto()
    """Standard error."""
    FILES = auto()
    """The database, its -wal and -shm, and everything else that the gateway writes."""
    ADMIN = auto()
    """Metrics and probes."""
    TRACES = auto()
    RPC_STATUS = auto()
    """Status, details and metadata of failed calls; metadata of the others."""
    ACKNOWLEDGEMENTS = auto()
    """Acknowledgements of handlers' replies."""
    EDGE_RESPONSES = auto()
    """Bodies of errors to D1; headers of all responses."""


@dataclass(frozen=True, slots=True)
class _Item:
    medium: Medium
    where: str
    data: bytes


@dataclass(slots=True)
class Evidence:
    """The collected data."""

    items: list[_Item] = field(default_factory=list)

    def add(self, medium: Medium, where: str, data: bytes | str) -> None:
        """Collect data."""
        self.items.append(_Item(medium, where, data.encode() if isinstance(data, str) else data))

    def add_files(self, folder: Path, but: Collection[str] = ()) -> None:
        """Collect all files of a folder, with exceptions."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in but:
                self.add(Medium.FILES, path.name, path.read_bytes())

    def add_rpc_error(self, where: str, error: grpc.aio.AioRpcError) -> None:
        """Collect everything that a failed call returns."""
        self.add(Medium.RPC_STATUS, where, f"{error.code()} {error.details()} {error.debug_error_string()}")
        self.add_metadata(where, error.initial_metadata())
        self.add_metadata(where, error.trailing_metadata())

    def add_metadata(self, where: str, metadata: grpc.aio.Metadata | None) -> None:
        """Collect metadata, some of it binary."""
        for key, value in metadata or ():
            self.add(Medium.RPC_STATUS, where, key)
            self.add(Medium.RPC_STATUS, where, value)

    def add_acknowledgement(self, receipt: Message) -> None:
        """Collect an acknowledgement as bytes: its text would omit fields."""
        self.add(Medium.ACKNOWLEDGEMENTS, "receipt", receipt.SerializeToString())

    async def add_admin(self, url: str) -> None:
        """Collect the responses of the admin port."""
        async with aiohttp.ClientSession() as session:
            for path in ("/metrics", "/readyz", "/healthz"):
                async with session.get(url + path) as response:
                    self.add(Medium.ADMIN, path, await response.read())

    def of(self, medium: Medium) -> list[bytes]:
        """Return the data of a medium."""
        return [item.data for item in self.items if item.medium is medium]

    def hits(self, canaries: Canaries) -> Mapping[tuple[str, Medium], set[str]]:
        """Return which canaries are in which medium, and where there."""
        # Many data are identical: each is searched once.
        found: dict[bytes, set[str]] = {}
        hits: dict[tuple[str, Medium], set[str]] = {}
        for item in self.items:
            if item.data not in found:
                found[item.data] = canaries.hits(item.data)
            for name in found[item.data]:
                hits.setdefault((name, item.medium), set()).add(item.where)
        return hits


async def collect_response(evidence: Evidence, where: str, response: aiohttp.ClientResponse) -> bytes:
    """Collect a response of the edge, except the body of a successful one, which is for D1. Return the body."""
    body = await response.read()
    evidence.add(Medium.EDGE_RESPONSES, where, f"{response.status} {response.reason} {response.raw_headers!r}")
    if not response.ok:
        evidence.add(Medium.EDGE_RESPONSES, where, body)
    return body


@asynccontextmanager
async def collector(evidence: Evidence) -> AsyncIterator[str]:
    """Collect traces for the duration of the block; yield the address, for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""

    async def collect(request: web.Request) -> web.Response:
        body = await request.read()
        # Parse it, so that the search cannot miss an unreadable one.
        ExportTraceServiceRequest.FromString(body)
        evidence.add(Medium.TRACES, "spans", body)
        evidence.add(Medium.TRACES, "headers of spans", repr(request.raw_headers))
        return web.Response()

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/v1/traces", collect)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
