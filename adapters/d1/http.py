"""One HTTP exchange with D1: sent at most once, bounded in time and size, and with its fate known."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from yarl import URL

from adapters.d1.answers import Answer
from adapters.d1.errors import contract_broken, deadline_exceeded, no_answer, unreachable
from adapters.d1.settings import D1Settings
from gateway.errors import GatewayError

__all__ = ["D1Http"]


@dataclass(slots=True)
class _Transmission:
    """How far one request got, over all attempts that aiohttp makes for it."""

    sent: bool = False


class D1Http:
    """The connections to one D1 environment: one session with its pool, for as long as this lives.

    To be made inside a running event loop and closed with `aclose`.
    """

    def __init__(self, settings: D1Settings, tls: ssl.SSLContext | None) -> None:
        """Prepare the pool; connections are made when they are needed.

        Args:
            settings: Where D1 is, and the limits.
            tls: With the client certificate for mTLS and the trusted authorities; None only for plain HTTP.

        Raises:
            ValueError: HTTPS without a TLS context.
        """
        self._base = settings.base_url.rstrip("/")
        if tls is None and self._base.startswith("https"):
            raise ValueError("HTTPS needs a TLS context with the client certificate.")
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

    async def send(self, method: str, path: str, *, headers: Mapping[str, str], body: bytes, deadline: float) -> Answer:
        """Send one request and read its answer, whatever its status.

        aiohttp repeats an idempotent request (PUT, GET) once when its connection turns out dead. Nothing else is
        repeated here, so a POST goes out once at most.

        Args:
            method: The HTTP method.
            path: Percent-encoded, sent as it is.
            headers: Beyond what every request has.
            body: What to send.
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
            error = _explain(failure, sent=transmission.sent, late=timer.expired())
        # Raised out here, the error does not refer to aiohttp's, which may hold the request with its token.
        raise error

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, transmission: _Transmission
    ) -> Answer:
        # `encoded` keeps yarl from rewriting the path: D1's colons stay, and so do the escapes within ids.
        url = URL(self._base + path, encoded=True)
        async with self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False, trace_request_ctx=transmission
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > self._answer_limit_bytes:
                    response.close()
                    raise contract_broken("D1's answer is too large.", status=response.status)
            return Answer(response.status, response.headers.get("Retry-After", ""), bytes(content))


async def _mark_as_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.sent = True


def _explain(failure: Exception, *, sent: bool, late: bool) -> GatewayError:
    if late:
        return deadline_exceeded(sent=sent)
    if not sent:
        return unreachable(failure)
    if isinstance(failure, aiohttp.ClientResponseError):
        # The status it carries is aiohttp's own, not D1's.
        return contract_broken("D1's answer is no HTTP.", status=None)
    return no_answer()
