"""HTTP requests to an upstream: sent once at most, limited in time, size and number, with a known outcome."""

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, TypeVar

from adapters.http.admission import AdmissionQueue, QueueFullError
from adapters.http.circuit_breaker import CircuitBreaker
from adapters.http.connection import DeadlineError, ExchangeError, MalformedResponseError, encode_request
from adapters.http.errors import Upstream, refusing_alert
from adapters.http.pool import ConnectionPool
from adapters.http.response import UpstreamResponse
from adapters.http.retry import retried
from gateway.errors import GatewayError
from gateway.ports import Call
from gateway.ports.meter import CircuitState, Unmeasured, UpstreamMeter
from gateway.settings import UpstreamSettings
from issuer.common.v1 import error_pb2

__all__ = ["HttpExchange"]

_T = TypeVar("_T")

_CREDENTIALS: Final = ("Authorization", "APIKey")
"""Request headers that hold credentials."""
_HEADERS: Final = MappingProxyType(
    {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "d1-gateway"}
)
_MAX_RESPONSE_BYTES: Final = 1024 * 1024
_MIN_CREDENTIAL_BYTES: Final = 8
"""A shorter credential may occur in a response by chance."""
_SILENCES: Final = frozenset({error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE, error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE})
"""Reasons that always count as failures of the upstream."""


def _is_server_error(response: UpstreamResponse) -> bool:
    return response.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class HttpExchange:
    """The connection pool for one environment of an upstream, and one client certificate.

    Create it inside a running event loop and close it with `aclose`.
    """

    def __init__(
        self,
        upstream: Upstream,
        settings: UpstreamSettings,
        tls: ssl.SSLContext | None,
        meter: UpstreamMeter = Unmeasured(),  # noqa: B008  without state
        *,
        is_failure: Callable[[UpstreamResponse], bool] = _is_server_error,
        max_response_bytes: int = _MAX_RESPONSE_BYTES,
        client_certificate: Callable[[], str] = str,
        issuer_ids: Sequence[str] = (),
    ) -> None:
        """Create the pool; connections are opened when needed.

        Args:
            upstream: The upstream's names in errors.
            settings: Address and limits.
            tls: Trusted CAs, and the client certificate for mTLS; None for plain HTTP only.
            meter: Receives requests, retries and circuit breaker states.
            is_failure: Returns whether a response counts as a failure of the upstream; by default, any 5xx does.
            max_response_bytes: Limit for a body.
            client_certificate: Describes the client certificate in use, for errors; empty if there is none.
            issuer_ids: The issuers whose calls alone go through this pool; empty if it is the common one.

        Raises:
            ValueError: HTTPS without a TLS context.
        """
        if tls is None and settings.base_url.startswith("https"):
            raise ValueError("HTTPS needs a TLS context.")
        self._upstream = upstream
        self._meter = meter
        self._settings = settings
        self._is_failure = is_failure
        self._client_certificate = client_certificate
        self._issuer_ids = issuer_ids
        self._loop = asyncio.get_running_loop()
        self._queue = queue = AdmissionQueue(settings.max_connections, settings.max_waiting_requests)
        meter.queue(upstream.name, lambda: queue.waiting_count)
        self._breaker = CircuitBreaker(
            failures=settings.circuit_failures,
            max_pause_seconds=settings.circuit_max_pause_seconds,
            on_state_change=self._record_state,
            clock=self._loop.time,
        )
        self._pool = ConnectionPool(
            settings.base_url,
            tls,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            max_body_bytes=max_response_bytes,
        )
        self._head_timeout_seconds = settings.head_timeout_seconds or math.inf
        self._headers = {"Host": self._pool.host_header, **_HEADERS}

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    def deadline(self, call: Call) -> float:
        """Return a call's deadline, in seconds of the event loop's clock.

        Raises:
            GatewayError: DEADLINE_EXCEEDED; it has passed already.
        """
        seconds = self._settings.total_timeout_seconds
        remaining = call.remaining_seconds()
        if remaining is not None:
            seconds = min(seconds, remaining)
        if seconds <= 0:
            raise self._upstream.deadline_exceeded(sent=False)
        return self._loop.time() + seconds

    def retried(
        self,
        attempt: Callable[[], Awaitable[_T]],
        *,
        method: str,
        endpoint: str,
        deadline: float,
        idempotent: bool,
        is_background: bool = False,
    ) -> Awaitable[_T]:
        """Make a call with `send`, and retry it where that is safe and can help: see `adapters.http.retry.retried`.

        A call in the background is not retried.
        """
        return retried(
            attempt,
            max_attempts=1 if is_background else self._settings.max_attempts,
            deadline=deadline,
            idempotent=idempotent,
            on_retry=lambda: self._meter.retried(self._upstream.name, f"{method} {endpoint}"),
        )

    async def send(
        self,
        method: str,
        path: str,
        *,
        endpoint: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: float,
        is_background: bool = False,
    ) -> UpstreamResponse:
        """Send a request and read its response, whatever its status.

        The request is written once at most.

        Args:
            method: HTTP method.
            path: Percent-encoded path, sent as it is.
            endpoint: Template of the path, free of ids, for the meter.
            headers: Headers beyond those of every request.
            body: Body to send; None for no body.
            deadline: When to give up, in seconds of the event loop's clock.
            is_background: Whether all other requests go first, and only they count at the closed circuit.

        Raises:
            GatewayError: UPSTREAM_UNREACHABLE, UPSTREAM_CIRCUIT_OPEN, TOO_MANY_REQUESTS (nothing was sent),
                DEADLINE_EXCEEDED, UPSTREAM_NO_RESPONSE, or UPSTREAM_CONTRACT if the response is not HTTP or too large.
        """
        # Checked before queueing too, so that no request queues for an upstream that is known to be down.
        self.expect_closed_circuit()
        await self._enter(deadline, is_background=is_background)
        try:
            self.expect_closed_circuit()
            started = self._loop.time()
            with self._breaker.attempt(is_background=is_background) as attempt:
                try:
                    response = await self._transmit(method, path, endpoint, headers, body, deadline)
                except GatewayError as error:
                    if self._is_upstream_failure(error, self._loop.time() - started):
                        attempt.succeeded = False
                    raise
                attempt.succeeded = not self._is_failure(response)
                return response
        finally:
            self._queue.leave()

    def expect_closed_circuit(self) -> None:
        """Check that a request would be let through, before preparing one.

        Raises:
            GatewayError: UPSTREAM_CIRCUIT_OPEN; nothing was sent.
        """
        seconds = self._breaker.seconds_left()
        if seconds > 0:
            raise self._upstream.circuit_open(seconds)

    def _record_state(self, state: CircuitState) -> None:
        for issuer_id in self._issuer_ids or ("",):
            self._meter.circuit(self._upstream.name, state, issuer_id)

    async def _enter(self, deadline: float, *, is_background: bool) -> None:
        error: GatewayError
        try:
            await (self._queue.enter_last(deadline) if is_background else self._queue.enter(deadline))
        except QueueFullError:
            error = self._upstream.queue_full()
        except TimeoutError:
            error = self._upstream.deadline_exceeded(sent=False)
        else:
            return
        raise error

    def _is_upstream_failure(self, error: GatewayError, seconds: float) -> bool:
        # An earlier time-out is due to the caller's deadline rather than the upstream.
        is_time_out = error.reason == error_pb2.ERROR_REASON_DEADLINE_EXCEEDED
        return error.reason in _SILENCES or (is_time_out and seconds >= self._settings.connect_timeout_seconds)

    async def _transmit(
        self, method: str, path: str, endpoint: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> UpstreamResponse:
        with self._meter.exchange(self._upstream.name, f"{method} {endpoint}") as measured:
            request = encode_request(method, path, {**self._headers, **headers, **measured.headers}, body)
            try:
                response = await self._pool.exchange(
                    request, deadline, head_timeout_seconds=self._head_timeout_seconds, is_head=method == "HEAD"
                )
            except ExchangeError as failure:
                error = self._explain(failure)
            else:
                measured.status = response.status
                return UpstreamResponse(
                    response.status,
                    response.retry_after,
                    _without_credentials(response.body, headers),
                    response.content_type,
                )
        # Raised outside the handler, the error does not refer to the fault.
        raise error

    def _explain(self, failure: ExchangeError) -> GatewayError:
        upstream, fault, sent = self._upstream, failure.fault, failure.fate.sent
        if isinstance(failure, MalformedResponseError):
            if failure.too_large_status:
                text = f"The response of {upstream.title} is too large."
                return upstream.contract_broken(text, status=failure.too_large_status)
            return upstream.contract_broken(f"The response of {upstream.title} is not HTTP.")
        if isinstance(fault, DeadlineError):
            return upstream.deadline_exceeded(sent=sent)
        # Only in place of the first response does an alert say that the upstream has processed nothing.
        alert = "" if fault is None or failure.has_served else refusing_alert(fault)
        if alert:
            return upstream.certificate_refused(alert, self._client_certificate())
        return upstream.no_response(fault) if sent else upstream.unreachable(fault)


def _without_credentials(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Mask the request's credentials in the response, because an upstream's words reach callers."""
    for name in _CREDENTIALS:
        secret = headers.get(name, "").removeprefix("Bearer ").encode()
        if len(secret) >= _MIN_CREDENTIAL_BYTES:
            body = body.replace(secret, b"****")
    return body
