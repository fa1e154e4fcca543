"""D1 as an HTTP client, with every possible mistake."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import aiohttp
from google.protobuf.duration_pb2 import Duration
from prometheus_client.parser import text_string_to_metric_families
from structlog import DropEvent
from structlog.testing import capture_logs
from structlog.typing import EventDict

from gateway.logging import correlation
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.d1.callbacks.notifier import EdgeCredentials
from tests.running import Running, consumer_notification_path, edge_tls, notification_path

OAUTH = EdgeCredentials("d1-client", "s\u00e9cret:~~~~????", "notifications status")
"""D1's credentials for tokens; characters of their base64 differ in base64url."""
TOKEN_PATH = "/authz/d1/v1/oauth2/token"


def event(**changes: Any) -> dict[str, Any]:
    """Return the body of a notification; a field set to ... is omitted."""
    details = {"acsTransactionId": "acs-1", "threeDSServerTransId": "3ds-1"}
    return consumer_event(**{"operation": "3DS_FRICTIONLESS", "consumerId": "consumer-1", "details": details} | changes)


def consumer_event(**changes: Any) -> dict[str, Any]:
    """Return the body of a consumer notification; a field set to ... is omitted."""
    body = {
        "operationId": "op_1",
        "operation": "ENROLL_AUTHN",
        "status": "SUCCESSFUL",
        "startTime": "2022-06-16T06:28:02.492Z",
        "details": {"appInstanceId": "app-1"},
    }
    return {name: value for name, value in (body | changes).items() if value is not ...}


@dataclass(frozen=True, slots=True)
class Response:
    """The edge's response."""

    status: int
    headers: dict[str, str]
    """The headers by lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"].partition(";")[0] == "application/json"
        return json.loads(self.body)

    def error(self, status: int) -> str:
        """Check that it is an error with that status; return its text."""
        assert self.status == status, self.body
        assert list(self.json) == ["error"]
        text = self.json["error"]
        assert isinstance(text, str)
        assert text
        return text


class EdgeCaller:
    """Sends requests to the edge of a running gateway, about a card and a consumer of its own."""

    _numbers = count(1)

    def __init__(self, running: Running, session: aiohttp.ClientSession, start: str) -> None:
        number = next(self._numbers)
        self.running = running
        self.session = session
        self.card_id = f"card-{number}"
        self.consumer_id = f"consumer-{number}"
        self._start = start
        self._tls: ssl.SSLContext | None = None

    @classmethod
    async def of(cls, running: Running, session: aiohttp.ClientSession) -> Self:
        """Begin at the end of the gateway's event log."""
        async with _watched(running, notification.WatchNotificationsRequest()) as (batch, _):
            return cls(running, session, batch.cursor)

    @property
    def path(self) -> str:
        """The path of notifications about the card."""
        return notification_path(self.card_id)

    async def request(self, method: str, path: str, **arguments: Any) -> Response:
        async with self.session.request(method, self.running.edge + path, **arguments) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status, headers, await response.read())

    async def notify(self, body: Any = None, card_id: str | None = None, **headers: str) -> Response:
        """Post JSON as a notification."""
        path = self.path if card_id is None else notification_path(card_id)
        return await self.request("POST", path, json=event() if body is None else body, headers=headers)

    async def notify_consumer(self, body: Any = None, consumer_id: str | None = None, **headers: str) -> Response:
        """Post JSON as a notification about a consumer."""
        path = consumer_notification_path(consumer_id or self.consumer_id)
        return await self.request("POST", path, json=consumer_event() if body is None else body, headers=headers)

    async def post(self, data: Any, content_type: str = "application/json", **headers: str) -> Response:
        """Post raw bytes as a notification."""
        given = {"Content-Type": content_type} | headers
        return await self.request("POST", self.path, data=data, headers=given)

    def raw(self, body: bytes, *headers: str) -> bytes:
        """Return a raw notification; see `raw_request`."""
        return raw_request(body, *headers, path=self.path)

    def raw_event(self, operation_id: str = "op_1") -> bytes:
        """Return a raw notification that the edge takes."""
        return self.raw(json.dumps(event(operationId=operation_id)).encode())

    async def stored(self) -> list[notification.Notification]:
        """Return what entered the event log since this caller began, as a watcher sees it."""
        request = notification.WatchNotificationsRequest(
            after_cursor=self._start, max_batch_size=1000, heartbeat_interval=Duration(nanos=100_000_000)
        )
        held: list[notification.Notification] = []
        async with _watched(self.running, request) as (_, call):
            while True:
                batch = await call.read()
                # The first heartbeat marks the end of the log.
                if not isinstance(batch, notification.WatchNotificationsResponse) or not batch.notifications:
                    return held
                held += batch.notifications

    async def stored_operations(self) -> list[str]:
        """Return the operation ids of `stored` notifications about cards."""
        return [each.three_ds_operation.operation_id for each in await self.stored()]

    @asynccontextmanager
    async def connection(
        self, context: ssl.SSLContext | None = None, source: str | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a TLS connection without any HTTP, with D1's certificate unless there is another context.

        It comes from another address of loopback if one is given.
        """
        host, _, port = self.running.addresses.edge.rpartition(":")
        if self._tls is None:
            self._tls = edge_tls(self.running.sandbox)
        reader, writer = await asyncio.open_connection(
            host, int(port), ssl=context or self._tls, local_addr=None if source is None else (source, 0)
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and values of one of the gateway's metrics."""
        async with self.session.get(f"http://{self.running.addresses.admin}/metrics") as response:
            families = list(text_string_to_metric_families(await response.text()))
        return [
            (dict(sample.labels), sample.value)
            for family in families
            for sample in family.samples
            if sample.name == f"d1_gateway_{name}"
        ]

    @staticmethod
    async def read(reader: asyncio.StreamReader) -> Response:
        """Read one response from a connection."""
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-1])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Response(int(head[0].split()[1]), headers, body)


def raw_request(body: bytes, *headers: str, path: str | None = None, method: str = "POST") -> bytes:
    """Return a raw request, with the right length unless a header overrides it."""
    given = list(headers)
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in given):
        given.append(f"Content-Length: {len(body)}")
    lines = [f"{method} {path or notification_path('card-1')} HTTP/1.1", "Host: edge", "Content-Type: application/json"]
    return "\r\n".join([*lines, *given, "", ""]).encode() + body


@asynccontextmanager
async def _watched(
    running: Running, request: notification.WatchNotificationsRequest
) -> AsyncIterator[tuple[notification.WatchNotificationsResponse, Any]]:
    """Watch notifications for the duration of the block; yield the first batch, which is empty, and the call."""
    call = running.notifications.WatchNotifications(request, timeout=20)
    try:
        batch = await call.read()
        assert isinstance(batch, notification.WatchNotificationsResponse)
        yield batch, call
    finally:
        call.cancel()


async def on_tcp(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the edge without TLS."""
    host, _, port = running.addresses.edge.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the edge closes the connection."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def edge_log() -> AbstractContextManager[list[EventDict]]:
    """Capture the log with correlation ids, without the ends of the watches that tests read the event log with."""
    return capture_logs([_with_correlation_id])


def _with_correlation_id(_: object, __: str, entry: EventDict) -> EventDict:
    if entry["event"] == "rpc_cancelled":
        raise DropEvent
    return {**entry, "correlation_id": correlation.current()}
