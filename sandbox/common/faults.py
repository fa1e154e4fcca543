"""Faults on demand: inject failures between the gateway and a simulated system for a number of calls."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

__all__ = ["EVERY_OPERATION", "Drop", "Fault", "Faults", "fault_middleware"]

EVERY_OPERATION = "*"

_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_FIREWALL_PAGE = (
    "<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. "
    "Please consult with your administrator.</body></html>"
)
_JSON = '{"error":"Fault on demand"}'


class Drop(StrEnum):
    """When the connection is aborted."""

    BEFORE = "before"
    """Before the request takes effect."""
    AFTER = "after"
    """After the request took effect, instead of the response."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. A delay combines with every other field, truncation also with a status or an HTML page."""

    operation: str = EVERY_OPERATION
    """The affected call: a `sandbox.d1.model.contract.Operation` or `sandbox.threeds.contract.Operation`;
    `EVERY_OPERATION` for any call."""
    times: int = 1
    """The number of calls affected."""
    latency_ms: int = 0
    """How long the call is held before anything else happens, in milliseconds."""
    status: int | None = None
    """The response's status; the request then has no effect."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of that response, for example ``Retry-After``."""
    body: str | None = None
    """The body of that response; None for a JSON body that names the fault."""
    html: bool = False
    """Whether that response is an HTML page: a firewall's if a status is given, otherwise a proxy's with status 502."""
    drop: Drop | None = None
    truncate: bool = False
    """Whether the response ends after half of its declared length."""


class Faults:
    """The pending faults, applied in the order in which they were added."""

    def __init__(self) -> None:
        self._pending: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Apply a fault to the next calls of its operation."""
        self._pending.append((fault, fault.times))

    def clear(self) -> None:
        """Remove all pending faults."""
        self._pending.clear()

    def pending(self) -> tuple[tuple[Fault, int], ...]:
        """Return the pending faults in their order, each with the number of calls that it will still affect."""
        return tuple(self._pending)

    def take(self, operation: str | None) -> Fault | None:
        """Return the fault of a call, if any, and count it as used.

        Args:
            operation: The call; None for an unknown path.
        """
        for index, (fault, left) in enumerate(self._pending):
            if fault.operation in {EVERY_OPERATION, operation}:
                self._pending[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        return None


def fault_middleware(faults: Faults) -> Middleware:
    """Return the middleware that applies the faults. It must be the outermost one."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = faults.take(request.match_info.route.name)
        if fault is None:
            return await handler(request)
        # Read first: a held call takes effect even if its caller disconnects meanwhile.
        await request.read()
        await asyncio.sleep(fault.latency_ms / 1000)
        if fault.drop is Drop.BEFORE:
            return _abort(request)
        response = _error_response(fault) or await handler(request)
        if fault.drop is Drop.AFTER:
            return _abort(request)
        if fault.truncate:
            return await _send_half(request, response)
        return response

    return middleware


def _error_response(fault: Fault) -> web.Response | None:
    if fault.status is None and not fault.html:
        return None
    body = fault.body
    if body is None:
        page = _PROXY_PAGE if fault.status is None else _FIREWALL_PAGE
        body = page if fault.html else _JSON
    headers = CIMultiDict(fault.headers)
    headers.setdefault("Content-Type", "text/html" if fault.html else "application/json")
    return web.Response(status=fault.status or 502, headers=headers, body=body.encode())


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _send_half(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or not body:
        # A response without a body cannot be truncated, so one is added.
        body, response = _JSON.encode(), web.json_response()
    half = web.StreamResponse(status=response.status, headers=response.headers)
    half.content_length = len(body)
    half.force_close()
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    return half
