"""One HTTP exchange with an upstream: sent at most once, bounded in time, size and number, and with its fate known."""

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
from adapters.http.errors import Upstream
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
"""The headers that hold them."""
_MAX_RESPONSE_BYTES: Final = 1024 * 1024
_SHORTEST_CREDENTIAL: Final = 8
"""What is shorter stands in an answer by chance."""
_SILENCES: Final = frozenset({error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE, error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER})
"""The reasons that count as failures of the upstream, whatever the circumstances."""


@dataclass(slots=True)
class _Transmission:
    """How far one request got, over all attempts that aiohttp makes for it."""

    sent: bool = False


_transmission: ContextVar[_Transmission] = ContextVar("transmission")


class _Connector(aiohttp.TCPConnector):
    """Notes when a request gets its connection, right before it is written: without one it has certainly not left.

    aiohttp's own tracing tells it more exactly, and costs as much as a tenth of a call.
    """

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        """Get a connection; see `aiohttp.BaseConnector.connect`."""
        connection = await super().connect(*args, **kwargs)
        _transmission.get().sent = True
        return connection


def _is_server_error(answer: UpstreamResponse) -> bool:
    return answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class HttpExchange:
    """The connections to one environment of an upstream: one session with its pool, for as long as this lives.

    To be made inside a running event loop and closed with `aclose`.
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
    ) -> None:
        """Prepare the pool; connections are made when they are needed.

        Args:
            upstream: How errors name it.
            settings: Where it is, and the limits.
            tls: With the trusted authorities, and the client certificate for mTLS; None only for plain HTTP.
            meter: Told of every request, of repetitions, and of the circuit breaker.
            is_failure: Tells an answer that counts as a failure of the upstream: by its status, unless told otherwise.
            max_response_bytes: The largest body that is read, after decompression.

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
        self._loop = asyncio.get_running_loop()
        self._line = AdmissionQueue(settings.max_connections, settings.max_waiting_requests)
        self._breaker = CircuitBreaker(
            failures=settings.circuit_failures,
            max_pause_seconds=settings.circuit_max_pause_seconds,
            note=lambda state: meter.circuit(upstream.name, state),
            clock=self._loop.time,
        )
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=settings.max_connections, ssl=True if tls is None else tls, socket_factory=client_socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": "d1-gateway"},
            # The total is up to the caller of `send`.
            timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout_seconds),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    def deadline(self, call: Call) -> float:
        """Tell when a call has to be over, in seconds of the event loop's clock.

        Raises:
            GatewayError: DEADLINE_EXCEEDED; it is over already.
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
        """Make a call, and where it is safe and can help make it again; see `adapters.http.retry.repeated`.

        Args:
            attempt: Makes the call once, with `send`.
            method: The HTTP method, for the meter.
            endpoint: The path's template, for the meter.
            deadline: When the call has to be over, in seconds of the event loop's clock.
            idempotent: Whether a request that was sent may be sent again.

        Raises:
            GatewayError: What `attempt` raises.
        """
        return await retried(
            attempt,
            max_attempts=self._settings.max_attempts,
            deadline=deadline,
            idempotent=idempotent,
            note=lambda: self._meter.retried(self._upstream.name, f"{method} {endpoint}"),
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
        """Send one request and read its answer, whatever its status.

        aiohttp repeats an idempotent request (PUT, GET) once when its connection turns out dead. Nothing else is
        repeated here, so a POST goes out once at most.

        Args:
            method: The HTTP method.
            path: Percent-encoded, sent as it is.
            endpoint: The path's template: what the meter is told, as no id is in it.
            headers: Beyond what every request has.
            body: What to send; None to send none.
            deadline: When to give up, in seconds of the event loop's clock.

        Raises:
            GatewayError: UPSTREAM_UNREACHABLE, UPSTREAM_CIRCUIT_OPEN, TOO_MANY_REQUESTS (nothing was sent),
                DEADLINE_EXCEEDED, UPSTREAM_NO_ANSWER, or UPSTREAM_CONTRACT for what is no HTTP or too large.
        """
        # Asked before as well, so that nobody stands in line behind what a dead upstream holds up.
        self.expect_closed_circuit()
        await self._enter(deadline)
        try:
            self.expect_closed_circuit()
            began = self._loop.time()
            with self._breaker.attempt() as attempt:
                try:
                    answer = await self._transmit(method, path, endpoint, headers, body, deadline)
                except GatewayError as error:
                    if self._is_its_failure(error, self._loop.time() - began):
                        attempt.went_well = False
                    raise
                attempt.went_well = not self._is_failure(answer)
                return answer
        finally:
            self._line.leave()

    def expect_closed_circuit(self) -> None:
        """Make sure that a request would be let through, before work is done for one.

        Raises:
            GatewayError: UPSTREAM_CIRCUIT_OPEN; nothing was sent.
        """
        seconds = self._breaker.seconds_left()
        if seconds > 0:
            raise self._upstream.circuit_open(seconds)

    async def _enter(self, deadline: float) -> None:
        error: GatewayError
        try:
            await self._line.enter(deadline)
        except QueueFullError:
            error = self._upstream.overcrowded()
        except TimeoutError:
            error = self._upstream.deadline_exceeded(sent=False)
        else:
            return
        raise error

    def _is_its_failure(self, error: GatewayError, seconds: float) -> bool:
        # A time-out that came sooner tells of the caller's deadline more than of the upstream.
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
                    answer = await self._exchange(method, path, sent_headers, body)
                    measured.status = answer.status
                    return answer
            except (aiohttp.ClientError, OSError) as failure:
                error = self._explain(failure, sent=transmission.sent, late=timer.expired())
            # Raised out here, the error does not refer to aiohttp's, which may hold the request with its secrets.
            raise error

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> UpstreamResponse:
        # `encoded` keeps yarl from rewriting the path: colons stay, and so do the escapes within ids.
        url = URL(self._base + path, encoded=True)
        async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > self._max_response_bytes:
                    response.close()
                    raise self._upstream.contract_broken(
                        f"The answer of {self._upstream.title} is too large.", status=response.status
                    )
            retry_after = response.headers.get("Retry-After", "")
            return UpstreamResponse(response.status, retry_after, _without_credentials(bytes(content), headers))

    def _explain(self, failure: Exception, *, sent: bool, late: bool) -> GatewayError:
        upstream = self._upstream
        if late:
            return upstream.deadline_exceeded(sent=sent)
        if not sent:
            return upstream.unreachable(failure)
        if isinstance(failure, aiohttp.ClientResponseError):
            # The status it carries is aiohttp's own, not the upstream's.
            return upstream.contract_broken(f"The answer of {upstream.title} is no HTTP.", status=None)
        return upstream.no_answer()


def _without_credentials(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Mask the credentials of the request in its answer: an upstream's words reach callers."""
    for name in _CREDENTIALS:
        secret = headers.get(name, "").removeprefix("Bearer ").encode()
        if len(secret) >= _SHORTEST_CREDENTIAL:
            body = body.replace(secret, b"****")
    return body
