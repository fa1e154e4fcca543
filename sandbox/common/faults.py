"""Faults on demand: failures of a number of calls, or for a time; of the gateway, of D1 to it, or of the handler."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

__all__ = [
    "EVERY_ANSWER",
    "EVERY_CALLBACK",
    "EVERY_OPERATION",
    "FAULT_BODY",
    "HANDLER",
    "Drop",
    "Fault",
    "Faults",
    "fault_middleware",
]

EVERY_OPERATION = "*"
"""Any call of the gateway."""
EVERY_CALLBACK = "callback.*"
"""Any call of D1 to the gateway."""
HANDLER = "handler."
"""How the operations of the sandbox's handler begin; the kind of callback follows."""
EVERY_ANSWER = f"{HANDLER}*"
"""Any callback request that the sandbox's handler gets."""

_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_FIREWALL_PAGE = (
    "<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. "
    "Please consult with your administrator.</body></html>"
)
FAULT_BODY = '{"error":"Fault on demand"}'
"""Of a response that a fault makes, unless it has its own."""


class Drop(StrEnum):
    """When the connection is aborted."""

    BEFORE = "before"
    """Before the request takes effect."""
    AFTER = "after"
    """After the request took effect, instead of the response."""
    FOR_GOOD = "for_good"
    """Of D1's callbacks alone: before the request, and D1 does not try again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. A delay combines with every other field, truncation also with a status or an HTML page."""

    operation: str = EVERY_OPERATION
    """The affected call: a `sandbox.d1.model.contract.Operation`, a `sandbox.threeds.contract.Operation`, the name of
    a `sandbox.d1.model.contract.Callback`, or `HANDLER` with a kind; or any call of one sort, see `EVERY_OPERATION`."""
    times: int = 1
    """The number of calls affected, unless it lasts a time."""
    for_ms: int = 0
    """How long all calls are affected, in milliseconds from when it was added; 0 for a number of calls."""
    latency_ms: int = 0
    """How long the call is held before anything else happens, in milliseconds."""
    status: int | None = None
    """The response's status; the request then has no effect. Of the sandbox's handler, the status of a refusal."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of that response, for example ``Retry-After``."""
    body: str | None = None
    """The body of that response; None for a JSON body that names the fault."""
    html: bool = False
    """Whether that response is an HTML page: a firewall's if a status is given, otherwise a proxy's with status 502."""
    drop: Drop | None = None
    """When the connection breaks; the sandbox's handler then stays silent instead."""
    truncate: bool = False
    """Whether the response ends after half of its declared length. Of a callback, half of its body is sent."""

    @property
    def what(self) -> str:
        """What happens, for people."""
        is_answer = self.operation.startswith(HANDLER)
        dropped = "no reply" if is_answer else "dropped"
        parts = {
            f"{self.latency_ms} ms late": self.latency_ms > 0,
            f"refusal as HTTP {self.status}" if is_answer else f"HTTP {self.status}": self.status is not None,
            "a page of HTML": self.html,
            "half a body": self.truncate,
            f"{dropped}, nothing done": self.drop is Drop.BEFORE,
            f"{dropped}, all done": self.drop is Drop.AFTER,
            "never sent": self.drop is Drop.FOR_GOOD,
            f"for {self.for_ms / 1000:g} s": self.for_ms > 0,
        }
        return ", ".join(part for part, happens in parts.items() if happens)


class _Pending(NamedTuple):
    fault: Fault
    left: int | None
    """The number of calls that it still affects; None for one that lasts a time."""
    end: float
    """When it ends by itself, as the clock has it."""


class Faults:
    """The pending faults, applied in the order in which they were added."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without faults.

        Args:
            clock: Returns the time, in seconds.
        """
        self._clock = clock
        self._pending: list[_Pending] = []

    def add(self, fault: Fault) -> None:
        """Apply a fault to the next calls of its operation."""
        left, end = (fault.times, math.inf) if fault.for_ms == 0 else (None, self._clock() + fault.for_ms / 1000)
        self._pending.append(_Pending(fault, left, end))

    def clear(self) -> None:
        """Remove all pending faults."""
        self._pending.clear()

    def pending(self) -> tuple[tuple[Fault, int | None], ...]:
        """Return the pending faults in their order, each with the number of calls that it will still affect.

        The number is None for a fault that lasts a time.
        """
        self._end_outdated()
        return tuple((each.fault, each.left) for each in self._pending)

    def take(self, operation: str | None, every: str = EVERY_OPERATION) -> Fault | None:
        """Return the fault of a call, if any, and count it as used.

        Args:
            operation: The call; None for an unknown path.
            every: The operation that stands for all calls of this sort.
        """
        self._end_outdated()
        for index, (fault, left, end) in enumerate(self._pending):
            if fault.operation in {every, operation}:
                if left is not None:
                    self._pending[index : index + 1] = [_Pending(fault, left - 1, end)] if left > 1 else []
                return fault
        return None

    def _end_outdated(self) -> None:
        now = self._clock()
        self._pending = [each for each in self._pending if each.end > now]


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
        body = page if fault.html else FAULT_BODY
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
        body, response = FAULT_BODY.encode(), web.json_response()
    half = web.StreamResponse(status=response.status, headers=response.headers)
    half.content_length = len(body)
    half.force_close()
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    return half
