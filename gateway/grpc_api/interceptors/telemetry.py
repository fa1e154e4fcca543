"""Measures every rpc, and writes one log line for each."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, cast

import grpc
import structlog
from google.protobuf.message import Message
from opentelemetry.trace import SpanKind

from gateway.auth.issuers import Issuers
from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Context, Interceptor, Method, Rpc
from gateway.grpc_api.interceptors.shield import DetachedOutcome
from gateway.logging import correlation
from gateway.telemetry.metrics import InProgress, Metrics, by_outcome
from gateway.telemetry.tracing import Tracing, fail

__all__ = ["TelemetryInterceptor"]

_log = structlog.get_logger(__name__)
# Probes and tools would drown the other log lines.
_INCIDENTAL: Final = "/grpc."
_NO_FAILURES: Final = frozenset({grpc.StatusCode.OK.name, grpc.StatusCode.CANCELLED.name})
_CODES: Final[Mapping[object, grpc.StatusCode]] = MappingProxyType({code.value[0]: code for code in grpc.StatusCode})
_LOGGED: Final = frozenset(
    {
        "acs_trans_id",
        "ds_trans_id",
        "earliest_cursor",
        "error_component",
        "three_ds_server_trans_id",
        "upstream",
        "upstream_code",
        "upstream_status",
    }
)


@dataclass(frozen=True, slots=True)
class _End:
    """How an rpc ended."""

    code: str
    """The name of its status."""
    level: int = logging.INFO
    event: str = "rpc_completed"
    facts: Mapping[str, object] = field(default_factory=dict)


class _Series:
    """The series of one rpc. Looking a series up by its labels takes longer than counting in it."""

    __slots__ = ("ended", "running", "seconds")

    def __init__(self, metrics: Metrics, method: Method) -> None:
        self.ended = cache(partial(metrics.rpcs.labels, method.name))
        in_progress = metrics.streams_open if method.has_streams else metrics.rpcs_in_flight
        self.running = InProgress(in_progress.labels(method.name))
        self.seconds = None if method.has_streams else metrics.rpc_seconds.labels(method.name)


class TelemetryInterceptor(Interceptor):
    """Measures, traces and logs; must be right inside the `ErrorInterceptor`, where errors are still complete.

    Calls to unknown rpcs are counted as ``unknown``, because callers choose their names.
    """

    def __init__(self, issuers: Issuers, metrics: Metrics, tracing: Tracing) -> None:
        """Prepare the metrics.

        Args:
            issuers: The issuers that a log line may name.
            metrics: The metrics to count in.
            tracing: Makes a span for each rpc without streams; one with streams may last for days.
        """
        self._issuers = issuers
        self._tracing = tracing
        self._rpcs = metrics.rpcs
        # Binding anew for each line takes a fifth of the line's time.
        self._log = _log.bind()
        self._series = cache(partial(_Series, metrics))
        self._failures = metrics.failures
        self._failed = metrics.rpc_failures
        self.count_detached = by_outcome(metrics.detached_calls, DetachedOutcome)
        """Counts how a change ended whose caller had left."""

    def count_unknown(self) -> None:
        """Count a call to an unknown rpc."""
        self._rpcs.labels("unknown", grpc.StatusCode.UNIMPLEMENTED.name).inc()

    async def serve(self, rpc: Rpc) -> Any:
        """Measure, count and log the rpc."""
        series, began = self._series(rpc.method), perf_counter()
        is_traced = self._tracing.is_on and not rpc.method.has_streams
        series.running.count += 1
        end = _OK
        try:
            reply = await (self._traced(rpc) if is_traced else rpc.proceed())
            end = _end(rpc.context)
        except BaseException as error:
            end = _failed(error, rpc.context)
            raise
        else:
            return reply
        finally:
            seconds = perf_counter() - began
            series.running.count -= 1
            if series.seconds is not None:
                series.seconds.observe(seconds)
            series.ended(end.code).inc()
            self._write(rpc, end, seconds)

    async def _traced(self, rpc: Rpc) -> Any:
        with self._tracing.span(rpc.method.name, SpanKind.SERVER, rpc.metadata) as span:
            span.set_attribute("d1_gateway.correlation_id", correlation.current())
            try:
                return await rpc.proceed()
            except GatewayError as error:
                fail(span, error.reason_name.lower())
                raise
            except Exception:
                fail(span, "internal")
                raise

    def _write(self, rpc: Rpc, end: _End, seconds: float) -> None:
        path = rpc.method.path
        is_incidental = path.startswith(_INCIDENTAL) and end.level == logging.INFO
        if end.code not in _NO_FAILURES and not is_incidental:
            reason, outcome = str(end.facts.get("reason", end.code)), str(end.facts.get("outcome", ""))
            self._failures.note(rpc.method.name, reason, outcome)
            self._failed.labels(rpc.method.name, reason, outcome).inc()
        self._log.log(
            logging.DEBUG if is_incidental else end.level,
            end.event,
            rpc=path,
            code=end.code,
            duration_ms=round(seconds * 1000, 1),
            **self._issuer(rpc.request),
            **end.facts,
        )

    def _issuer(self, request: Message | None) -> Mapping[str, str]:
        named = getattr(request, "issuer_id", None)
        issuer_id = "" if named is None else self._issuers.resolve(named)
        # An id that is not configured is the caller's word.
        return {"issuer_id": issuer_id} if issuer_id in self._issuers else {}


_OK: Final = _End(grpc.StatusCode.OK.name)


def _end(context: Context) -> _End:
    """Return the end of an rpc without an exception."""
    # Usually None, although the stubs say otherwise.
    return _OK if context.code() is None else _End(_code(context).name)


def _code(context: Context) -> grpc.StatusCode:
    """Return the status that was set without an exception; OK if none was."""
    # None or whatever the code was set to, a number too, although the stubs say otherwise.
    code = cast("grpc.StatusCode | int | None", context.code())
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code or 0, grpc.StatusCode.UNKNOWN)


def _failed(error: BaseException, context: Context) -> _End:
    match error:
        case GatewayError():
            facts = {"reason": error.reason_name, "outcome": error.outcome_name, **_facts(error)}
            return _End(error.code.name, logging.WARNING, event="rpc_failed", facts=facts)
        case grpc.aio.AbortError():
            return _End(_code(context).name)
        case asyncio.CancelledError() | GeneratorExit():
            left = cast("float | None", context.time_remaining())
            is_late = left is not None and left <= 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
            return _End(code.name, event="rpc_cancelled")
        case _:
            return _End(grpc.StatusCode.INTERNAL.name, logging.ERROR, event="rpc_failed", facts={"exc_info": error})


def _facts(error: GatewayError) -> dict[str, str]:
    facts = {name: value for name, value in error.metadata.items() if name in _LOGGED}
    # Even sanitised, an upstream's own words may name a person: they go to the caller, never into the log.
    return facts if "upstream_status" in facts else {**facts, "message": error.message}
