"""Everything that leaves a gateway or stays on disk, collected for the search."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum, auto
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from issuer.callback.v1 import messages_pb2 as callback
from tests.e2e.canary_values import Canaries

__all__ = ["Evidence", "Medium"]


class Medium(Enum):
    """A place where a canary may appear."""

    STDOUT = auto()
    LOG = auto()
    """Standard error."""
    FILES = auto()
    """The database, its -wal and -shm, and everything else that the gateway writes."""
    ADMIN = auto()
    """Metrics, probes and the operators' page."""
    TRACES = auto()
    RPC_STATUS = auto()
    """Status, details and metadata of failed calls; metadata of the others."""
    ACKNOWLEDGEMENTS = auto()
    """Acknowledgements of handlers' replies."""
    EDGE_RESPONSES = auto()
    """Bodies of errors to D1; headers of all responses."""


class Evidence:
    """The collected data, and the canaries to search for."""

    def __init__(self) -> None:
        self.canaries = Canaries()
        # Many data are identical: each is searched once.
        self._seen: dict[Medium, defaultdict[bytes, set[str]]] = {medium: defaultdict(set) for medium in Medium}

    def add(self, medium: Medium, where: str, *data: bytes | str) -> None:
        for each in data:
            self._seen[medium][each.encode() if isinstance(each, str) else each].add(where)

    def add_files(self, folder: Path, but: str) -> None:
        """Collect all files of a folder except one."""
        for path in folder.rglob("*"):
            if path.is_file() and path.name != but:
                self.add(Medium.FILES, path.name, path.read_bytes())

    def add_violations(self, acknowledgement: callback.ReplyAcknowledgement) -> None:
        """Collect an acknowledgement as bytes, as its text would omit fields; the token it repeats is the request's."""
        self.add(
            Medium.ACKNOWLEDGEMENTS,
            "acknowledgement",
            *(each.SerializeToString() for each in acknowledgement.violations),
        )

    async def add_admin(self, url: str) -> None:
        async with aiohttp.ClientSession(url) as session:
            for path in ("/", "/metrics", "/readyz", "/healthz"):
                async with session.get(path) as response:
                    self.add(Medium.ADMIN, path, await response.read())

    async def add_response(self, where: str, response: aiohttp.ClientResponse) -> bytes:
        """Collect a response of the edge, except the body of a successful one, which is for D1. Return the body."""
        body = await response.read()
        self.add(Medium.EDGE_RESPONSES, where, f"{response.status} {response.reason} {response.raw_headers!r}")
        if not response.ok:
            self.add(Medium.EDGE_RESPONSES, where, body)
        return body

    @asynccontextmanager
    async def traces(self) -> AsyncIterator[str]:
        """Collect traces for the duration of the block; yield the address, for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""

        async def collect(request: web.Request) -> web.Response:
            body = await request.read()
            # Parse it, so that the search cannot miss an unreadable one.
            ExportTraceServiceRequest.FromString(body)
            self.add(Medium.TRACES, "spans", body, repr(request.raw_headers))
            return web.Response()

        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/v1/traces", collect)
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")

    def of(self, medium: Medium) -> list[bytes]:
        return list(self._seen[medium])

    def hits(self) -> Mapping[tuple[str, Medium], set[str]]:
        """Return which canaries are in which medium, and where there."""
        hits: defaultdict[tuple[str, Medium], set[str]] = defaultdict(set)
        for medium, seen in self._seen.items():
            for data, places in seen.items():
                for name in self.canaries.hits(data):
                    hits[name, medium] |= places
        return hits
