"""HTTP requests to an upstream: sent once at most, limited in time, size and number, with a known outcome."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import aiohttp
from yarl import URL

from adapters.http.admission import AdmissionQueue, QueueFullError
from adapters.http.circuit_breaker import CircuitBreaker
from adapters.http.errors import Upstream, refusing_alert
from adapters.http.response import UpstreamResponse
from adapters.http.retry import retried
from gateway.aio.sockets import client_socket
from gateway.errors import GatewayError
from gateway.ports import Call
from gateway.ports.meter import Unmeasured, UpstreamMeter
from gateway.settings import UpstreamSettings
from issuer.common.v1 import error_pb2

__all__ = ["HttpExchange"]

_T = TypeVar("_T")

_CREDENTIALS: Final = ("Authorization", "APIKey")
"""Request headers that hold credentials."""
_MAX_RESPONSE_BYTES: Final = 1024 * 1024
_MIN_CREDENTIAL_BYTES: Final = 8
"""A shorter credential may occur in a response by chance."""
_SILENCES: Final = frozenset({error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE, error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE})
"""Reasons that always count as failures of the upstream."""


@dataclass(slots=True)
class _Transmission:
    """Whether a request may have left, over all attempts that aiohttp makes for it."""

    sent: bool = False


_transmission: ContextVar[_Transmission] = ContextVar("transmission")


class _Connector(aiohttp.TCPConnector):
    """Records when a request gets its connection, right before it is written. Without one, nothing was sent.

    aiohttp's tracing is more exact, but costs up to a tenth of a call.
    """

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        """Get a connection; see `aiohttp.BaseConnector.connect`."""
        connection = await super().connect(*args, **kwargs)
        _transmission.get().sent = True
        return connection


def _is_server_error(response: UpstreamResponse) -> bool:
    return response.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class HttpExchange:
    """The connection pool for one environment of an upstream.

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
    ) -> None:
        """Create the pool; connections are opened when needed.

        Args:
            upstream: The upstream's names in errors.
            settings: Address and limits.
            tls: Trusted CAs, and the client certificate for mTLS; None for plain HTTP only.
            meter: Receives requests, retries and circuit breaker states.
            is_failure: Returns whether a response counts as a failure of the upstream; by default, any 5xx does.
            max_response_bytes: Limit for a body, after decompression.
            client_certificate: Describes the client certificate in use, for errors; empty if there is none.

        Raises:
            ValueError: HTTPS without a TLS context.
        """
        self._base = settings.base_url
        if tls is None and self._base.startswith("https"):
            raise ValueError("HTTPS needs a TLS context.")
        self._upstream = upstream
        self._meter = meter
        self._settings = settings
        self._is_failure = is_failure
        self._max_response_bytes = max_response_bytes
        self._client_certificate = client_certificate
        self._loop = asyncio.get_running_loop()
        self._queue = AdmissionQueue(settings.max_connections, settings.max_waiting_requests)
        self._breaker = CircuitBreaker(
            failures=settings.circuit_failures,
            max_pause_seconds=settings.circuit_max_pause_seconds,
            on_state_change=lambda state: meter.circuit(upstream.name, state),
            clock=self._loop.time,
        )
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=settings.max_connections, ssl=True if tls is None else tls, socket_factory=client_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": "d1-gateway"},
            # The caller of `send` sets the total time limit.
            timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout_seconds),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

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

    async def retried(
        self, attempt: Callable[[], Awaitable[_T]], *, method: str, endpoint: str, deadline: float, idempotent: bool
    ) -> _T:
        """Make a call with `send`, and retry it where that is safe and can help: see `adapters.http.retry.retried`."""
        return await retried(
            attempt,
            max_attempts=self._settings.max_attempts,
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
    ) -> UpstreamResponse:
        """Send a request and read its response, whatever its status.

        aiohttp resends an idempotent request (PUT, GET) once if its connection turns out to be dead. Nothing else is
        resent here, so a POST is sent once at most.

        Args:
            method: HTTP method.
            path: Percent-encoded path, sent as it is.
            endpoint: Template of the path, free of ids, for the meter.
            headers: Headers beyond those of every request.
            body: Body to send; None for no body.
            deadline: When to give up, in seconds of the event loop's clock.

        Raises:
            GatewayError: UPSTREAM_UNREACHABLE, UPSTREAM_CIRCUIT_OPEN, TOO_MANY_REQUESTS (nothing was sent),
                DEADLINE_EXCEEDED, UPSTREAM_NO_RESPONSE, or UPSTREAM_CONTRACT if the response is not HTTP or too large.
        """
        # Checked before queueing too, so that no request queues for an upstream that is known to be down.
        self.expect_closed_circuit()
        await self._enter(deadline)
        try:
            self.expect_closed_circuit()
            started = self._loop.time()
            with self._breaker.attempt() as attempt:
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

    async def _enter(self, deadline: float) -> None:
        error: GatewayError
        try:
            await self._queue.enter(deadline)
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
        transmission = _Transmission()
        _transmission.set(transmission)
        with self._meter.exchange(self._upstream.name, f"{method} {endpoint}") as measured:
            sent_headers = {**headers, **measured.headers}
            try:
                async with asyncio.timeout_at(deadline) as timer:
                    response = await self._exchange(method, path, sent_headers, body)
                    measured.status = response.status
                    return response
            except (aiohttp.ClientError, OSError) as failure:
                error = self._explain(failure, sent=transmission.sent, late=timer.expired())
            # Raised outside the handler, the error does not refer to aiohttp's, which may hold the request's secrets.
            raise error

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> UpstreamResponse:
        # `encoded` keeps yarl from rewriting the path: colons stay, and so do escapes within ids.
        url = URL(self._base + path, encoded=True)
        async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > self._max_response_bytes:
                    response.close()
                    raise self._upstream.contract_broken(
                        f"The response of {self._upstream.title} is too large.", status=response.status
                    )
            return UpstreamResponse(
                response.status,
                response.headers.get("Retry-After", ""),
                _without_credentials(bytes(content), headers),
                response.headers.get("Content-Type", ""),
            )

    def _explain(self, failure: Exception, *, sent: bool, late: bool) -> GatewayError:
        upstream = self._upstream
        if late:
            return upstream.deadline_exceeded(sent=sent)
        alert = refusing_alert(failure)
        if alert:
            return upstream.certificate_refused(alert, self._client_certificate())
        if not sent:
            return upstream.unreachable(failure)
        if isinstance(failure, aiohttp.ClientResponseError):
            # Its status is aiohttp's, not the upstream's.
            return upstream.contract_broken(f"The response of {upstream.title} is not HTTP.")
        return upstream.no_response()


def _without_credentials(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Mask the request's credentials in the response, because an upstream's words reach callers."""
    for name in _CREDENTIALS:
        secret = headers.get(name, "").removeprefix("Bearer ").encode()
        if len(secret) >= _MIN_CREDENTIAL_BYTES:
            body = body.replace(secret, b"****")
    return body
