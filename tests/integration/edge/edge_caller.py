"""D1 as an HTTP client, with every possible mistake."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from google.protobuf.duration_pb2 import Duration

from issuer.notification.v1 import messages_pb2 as notification
from sandbox.d1.callbacks.notifier import EdgeCredentials
from tests.running import Running, consumer_notification_path, edge_tls, notification_path

__all__ = ["OAUTH", "TOKEN_PATH", "EdgeCaller", "Response", "consumer_event", "event", "raw_request", "stored"]

OAUTH = EdgeCredentials("d1-client", "s\u00e9cret:~~~~????", "notifications status")
"""D1's credentials for tokens; characters of their base64 differ in base64url."""
TOKEN_PATH = "/authz/d1/v1/oauth2/token"


def event(**changes: Any) -> dict[str, Any]:
    """Return the body of a notification; a field set to ... is omitted."""
    body = {
        "operationId": "op_1",
        "operation": "3DS_FRICTIONLESS",
        "status": "SUCCESSFUL",
        "startTime": "2022-06-16T06:28:02.492Z",
        "consumerId": "consumer-1",
        "details": {"acsTransactionId": "acs-1", "threeDSServerTransId": "3ds-1"},
    }
    return {name: value for name, value in (body | changes).items() if value is not ...}


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
    """Sends requests to the edge of a running gateway."""

    def __init__(self, running: Running, session: aiohttp.ClientSession) -> None:
        self.running = running
        self.session = session

    async def request(self, method: str, path: str, **arguments: Any) -> Response:
        async with self.session.request(method, self.running.edge + path, **arguments) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status, headers, await response.read())

    async def notify(self, body: Any = None, card_id: str = "card-1", **headers: str) -> Response:
        """Post JSON as a notification."""
        return await self.request(
            "POST", notification_path(card_id), json=event() if body is None else body, headers=headers
        )

    async def notify_consumer(self, body: Any = None, consumer_id: str = "consumer-1", **headers: str) -> Response:
        """Post JSON as a notification about a consumer."""
        return await self.request(
            "POST",
            consumer_notification_path(consumer_id),
            json=consumer_event() if body is None else body,
            headers=headers,
        )

    async def post(self, data: Any, content_type: str = "application/json", **headers: str) -> Response:
        """Post raw bytes as a notification."""
        given = {"Content-Type": content_type} | headers
        return await self.request("POST", notification_path("card-1"), data=data, headers=given)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a TLS connection without any HTTP."""
        host, _, port = self.running.addresses.edge.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=edge_tls(self.running.sandbox))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

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


async def stored(running: Running) -> list[notification.Notification]:
    """Return the content of the event log, as a watcher sees it."""
    request = notification.WatchNotificationsRequest(
        position=notification.START_POSITION_EARLIEST,
        max_batch_size=1000,
        heartbeat_interval=Duration(nanos=100_000_000),
    )
    call = running.notifications.WatchNotifications(request, timeout=20)
    held: list[notification.Notification] = []
    try:
        await call.read()
        while True:
            batch = await call.read()
            # The first heartbeat marks the end of the log.
            if not isinstance(batch, notification.WatchNotificationsResponse) or not batch.notifications:
                return held
            held += batch.notifications
    finally:
        call.cancel()
