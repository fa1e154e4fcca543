"""Sends callbacks as D1, and opens streams of handlers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc

from issuer.callback.v1 import messages_pb2 as callback
from sandbox.handler import Handler, Responder
from tests.running import Running

__all__ = ["D1", "connect", "read_all", "registration", "stream", "until_measured"]

_CONSUMER = "/banking/d1/v1/issuers/{issuer}/consumers/consumer-1"
_EVERY_KIND = [kind for kind in callback.CallbackKind.values() if kind != callback.CALLBACK_KIND_UNSPECIFIED]


class D1:
    """Sends callbacks to the edge."""

    def __init__(self, running: Running, session: Any) -> None:
        self._running = running
        self._session = session

    async def call(
        self, path: str = "", body: object = None, *, issuer: str = "SANDBOX001", **headers: str
    ) -> tuple[int, Any]:
        """Post a body, or get without one; return the status and the JSON response."""
        url = self._running.edge + _CONSUMER.format(issuer=issuer) + path
        method = "GET" if body is None else "POST"
        async with self._session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json() if await response.read() else None

    async def head(self, path: str) -> tuple[int, str]:
        """Ask for the head of any path; return the status and the allowed methods."""
        async with self._session.head(self._running.edge + path) as response:
            return response.status, response.headers.get("Allow", "")

    async def get(self, path: str) -> tuple[int, Any]:
        """Get any path."""
        async with self._session.get(self._running.edge + path) as response:
            return response.status, await response.json() if await response.read() else None


def connect(running: Running, responders: dict[str, Responder], **options: Any) -> Any:
    return Handler.connect(running.channel, responders, **options)


@asynccontextmanager
async def stream(running: Running) -> AsyncIterator[Any]:
    """Open a stream to write and read by hand."""
    call = running.callbacks.HandleCallbacks()
    try:
        yield call
    finally:
        call.cancel()


def registration(**fields: Any) -> callback.HandleCallbacksRequest:
    values = {"name": "by-hand", "callback_kinds": _EVERY_KIND} | fields
    return callback.HandleCallbacksRequest(registration=callback.HandlerRegistration(**values))


async def read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def until_measured(running: Running, metric: str, value: float) -> None:
    """Wait until a metric of the gateway has a value, for all values of the labels that are not named."""
    async with aiohttp.ClientSession(f"http://{running.addresses.admin}") as session, asyncio.timeout(10):
        values: set[str] = set()
        while values != {f"{value:.1f}"}:
            async with session.get("/metrics") as response:
                lines = (await response.text()).splitlines()
            values = {line.rpartition(" ")[2] for line in lines if line.startswith(f"d1_gateway_{metric}")}
