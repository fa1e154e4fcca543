"""Measures and logs every request at the edge."""

import logging
import re
from functools import cache
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Counter, Histogram

from gateway.auth.issuers import Issuers
from gateway.edge.connection_refusals import Refusal
from gateway.edge.platform import CALLBACK_OUTCOME
from gateway.edge.responses import HttpError, InternalHttpError, http_error_of
from gateway.edge.server_connection import is_caller_gone
from gateway.edge.tls_listener import Listener
from gateway.logging import correlation
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracing, fail

__all__ = ["EdgeTelemetry"]

_log = structlog.get_logger(__name__)
# Matches an id, but no card number that a sender may have put in its place, grouped or not.
_ID: Final = re.compile(r"(?![0-9]{10})(?!([0-9][_-]*){10,}\Z)[A-Za-z0-9_-]{1,64}")
_UNKNOWN: Final = "unknown"
_OTHER: Final = "other"
_NONE: Final = "none"
"""The status of a request whose sender hung up before the response."""
_CAPITAL: Final = re.compile("(?<=[a-z])[A-Z]")


class EdgeTelemetry:
    """Goes directly inside `answer_errors`, where exceptions still have their details."""

    def __init__(self, issuers: Issuers, metrics: Metrics, tracing: Tracing) -> None:
        self._issuers = issuers
        self._metrics = metrics
        self._tracing = tracing
        # Binding a logger for each entry costs a fifth of the time to log it.
        self._log = _log.bind()
        # Looking up a series by its labels takes longer than counting.
        self._series = cache(self._find_series)
        self._refused = {reason: metrics.edge_connections_refused.labels(reason.value) for reason in Refusal}

    def middleware(self, quiet_routes: frozenset[str]) -> Middleware:
        """Return the middleware, which logs successes of quiet routes at debug level only."""

        @web.middleware
        async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
            started = perf_counter()
            route, method = _route(request), _method(request)
            with self._tracing.span(f"{method} {route}", SpanKind.SERVER, request.headers.items()) as span:
                if span.is_recording():
                    span.set_attribute("d1_gateway.correlation_id", correlation.current_printable())
                try:
                    response = await handler(request)
                except Exception as error:
                    failure = http_error_of(error)
                    facts = self._ended(request, span, route, method, failure.status, started)
                    if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                        fail(span, str(failure.status))
                    _log_failure(request, facts, failure, error)
                    self._note(route, facts["status"])
                    raise
                facts = self._ended(request, span, route, method, response.status, started)
            if facts["status"] == _NONE:
                self._note(route, _NONE)
                _log.warning("callback_abandoned", **facts, **_ids(request))
                return response
            is_quiet = route in quiet_routes and response.status < HTTPStatus.BAD_REQUEST
            level = logging.DEBUG if is_quiet else logging.INFO
            if self._log.is_enabled_for(level):
                self._log_success(level, request, facts)
            return response

        return measure

    def count_unread(self, status: int) -> None:
        """Count a response, by its HTTP status, to data that cannot be read as a request."""
        self._series(_UNKNOWN, _OTHER, status)[0].inc()

    def count_refused(self, reason: Refusal) -> None:
        """Count a connection that was turned away."""
        self._refused[reason].inc()

    def measure_connections(self, listener: Listener) -> None:
        """Measure how many connections a listener has."""
        self._metrics.edge_connections.set_function(lambda: listener.connection_count)
        self._metrics.edge_handshakes.set_function(lambda: listener.handshake_count)

    def _ended(
        self, request: web.Request, span: Span, route: str, method: str, status: int, started: float
    ) -> dict[str, Any]:
        """Count a request that ended, complete its span, and return the facts for its log line."""
        seconds = perf_counter() - started
        seen = _NONE if is_caller_gone(request) else status
        requests, durations = self._series(route, method, seen)
        requests.inc()
        durations.observe(seconds)
        if seen != _NONE:
            span.set_attribute("http.response.status_code", seen)
        facts = {"callback": route, "method": method, "status": seen, "duration_ms": round(seconds * 1000, 1)}
        if CALLBACK_OUTCOME in request:
            facts["outcome"] = request[CALLBACK_OUTCOME].value
        return facts

    def _note(self, route: str, status: int | str) -> None:
        self._metrics.failures.note(route, "CALLER_GONE" if status == _NONE else f"HTTP_{status}")

    def _find_series(self, route: str, method: str, status: int | str) -> tuple[Counter, Histogram]:
        metrics = self._metrics
        return metrics.edge_requests.labels(route, method, status), metrics.edge_seconds.labels(route, status)

    def _log_success(self, level: int, request: web.Request, facts: dict[str, Any]) -> None:
        issuer_id = request.match_info.get("issuerId")
        known = {"issuer_id": issuer_id} if issuer_id in self._issuers else {}
        self._log.log(level, "callback_completed", **facts, **known)


def _log_failure(request: web.Request, facts: dict[str, Any], failure: HttpError, error: Exception) -> None:
    facts |= _ids(request)
    if failure.cause:
        facts["cause"] = failure.cause
    if isinstance(failure, InternalHttpError):
        _log.error("callback_failed", **facts, exc_info=error)
    elif facts["status"] == _NONE:
        _log.warning("callback_abandoned", **facts)
    else:
        _log.warning("callback_rejected", **facts, error=failure.logged)


def _ids(request: web.Request) -> dict[str, str]:
    """Return the ids in the path that look like ids, to help find what was rejected."""
    return {
        _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", name): value
        for name, value in request.match_info.items()
        if _ID.fullmatch(value)
    }


def _route(request: web.Request) -> str:
    # The route's pattern, not the path: what a sender writes into a path does not belong in the log.
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else _UNKNOWN


def _method(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else _OTHER
