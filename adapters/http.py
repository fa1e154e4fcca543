"""One HTTP exchange with an upstream: sent at most once, bounded in time and size, and with its fate known."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from adapters.answers import Answer
from adapters.upstream import Upstream
from gateway.errors import GatewayError
from gateway.ports import Call

__all__ = ["HttpExchange", "HttpSettings"]

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where an upstream is and what the calls to it may cost.

    Raises:
        ValueError: A value makes no sense, or the base URL is neither HTTPS nor on loopback.
    """

    base_url: str
    """``https://host`` of one environment of the upstream. Plain HTTP only on loopback."""
    connection_limit: int = 100
    """How many connections may be open at once."""
    connect_timeout_seconds: float = 5.0
    """How long a call waits for a connection: for a free one, or for the name, TCP and TLS of a new one."""
    total_timeout_seconds: float = 10.0
    """How long a call takes at most, with all it needs; less if the caller's deadline is nearer."""
    answer_limit_bytes: int = 1024 * 1024
    """The largest body that is read of an answer, after decompression."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        url = urlsplit(self.base_url)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise ValueError("base_url has to be https, or http on loopback.")
        if not url.hostname or url.query or url.fragment or "@" in url.netloc:
            raise ValueError("base_url has to be a host, perhaps with a port and a path, and nothing else.")
        limits = (
            self.connection_limit,
            self.connect_timeout_seconds,
            self.total_timeout_seconds,
            self.answer_limit_bytes,
        )
        if min(limits) <= 0:
            raise ValueError("Limits and timeouts have to be more than 0.")


@dataclass(slots=True)
class _Transmission:
    """How far one request got, over all attempts that aiohttp makes for it."""

    sent: bool = False


class HttpExchange:
    """The connections to one environment of an upstream: one session with its pool, for as long as this lives.

    To be made inside a running event loop and closed with `aclose`.
    """

    def __init__(self, upstream: Upstream, settings: HttpSettings, tls: ssl.SSLContext | None) -> None:
        """Prepare the pool; connections are made when they are needed.

        Args:
            upstream: How errors name it.
            settings: Where it is, and the limits.
            tls: With the trusted authorities, and the client certificate for mTLS; None only for plain HTTP.

        Raises:
            ValueError: HTTPS without a TLS context.
        """
        self._upstream = upstream
        self._base = settings.base_url.rstrip("/")
        if tls is None and self._base.startswith("https"):
            raise ValueError("HTTPS needs a TLS context.")
        self._total_timeout_seconds = settings.total_timeout_seconds
        self._answer_limit_bytes = settings.answer_limit_bytes
        tracing = aiohttp.TraceConfig()
        # aiohttp says so just before the headers go to the socket, and the body never goes before them: a request that
        # is not marked has certainly not left.
        tracing.on_request_headers_sent.append(_mark_as_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.connection_limit, ssl=True if tls is None else tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": "d1-gateway"},
            # The total is up to the caller of `send`.
            timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout_seconds),
            trace_configs=[tracing],
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
        seconds = self._total_timeout_seconds
        remaining = call.remaining_seconds()
        if remaining is not None:
            seconds = min(seconds, remaining)
        if seconds <= 0:
            raise self._upstream.deadline_exceeded(sent=False)
        return asyncio.get_running_loop().time() + seconds

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> Answer:
        """Send one request and read its answer, whatever its status.

        aiohttp repeats an idempotent request (PUT, GET) once when its connection turns out dead. Nothing else is
        repeated here, so a POST goes out once at most.

        Args:
            method: The HTTP method.
            path: Percent-encoded, sent as it is.
            headers: Beyond what every request has.
            body: What to send; None to send none.
            deadline: When to give up, in seconds of the event loop's clock.

        Raises:
            GatewayError: UPSTREAM_UNREACHABLE (nothing was sent), DEADLINE_EXCEEDED, UPSTREAM_NO_ANSWER, or
                UPSTREAM_CONTRACT for what is no HTTP or too large.
        """
        transmission = _Transmission()
        try:
            async with asyncio.timeout_at(deadline) as timer:
                return await self._exchange(method, path, headers, body, transmission)
        except (aiohttp.ClientError, OSError) as failure:
            error = self._explain(failure, sent=transmission.sent, late=timer.expired())
        # Raised out here, the error does not refer to aiohttp's, which may hold the request with its secrets.
        raise error

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, transmission: _Transmission
    ) -> Answer:
        # `encoded` keeps yarl from rewriting the path: colons stay, and so do the escapes within ids.
        url = URL(self._base + path, encoded=True)
        async with self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False, trace_request_ctx=transmission
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > self._answer_limit_bytes:
                    response.close()
                    raise self._upstream.contract_broken(
                        f"The answer of {self._upstream.title} is too large.", status=response.status
                    )
            return Answer(response.status, response.headers.get("Retry-After", ""), bytes(content))

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


async def _mark_as_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.sent = True
