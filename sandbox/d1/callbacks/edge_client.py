"""D1's HTTPS client of the gateway's edge: mutual TLS, and a bearer token where agreed."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson
from yarl import URL

from sandbox.common.faults import EVERY_CALLBACK, FAULT_BODY, Drop, Fault, Faults
from sandbox.d1.model.contract import BANKING, EDGE_TOKEN_PATH, OUTBOUND_TIMEOUT_SECONDS, Callback

__all__ = ["EdgeClient", "EdgeCredentials", "EdgeResponse", "Exchange", "LostError", "NotDeliveredError"]


class NotDeliveredError(Exception):
    """The edge did not respond, did not accept a notification, or issued no token."""


class LostError(NotDeliveredError):
    """D1 does not send it, nor try again."""


@dataclass(frozen=True, slots=True)
class EdgeCredentials:
    """D1's client credentials at the edge's token endpoint (D1 API: outbound OAuth 2.0)."""

    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None

    def authorization(self) -> str:
        """Return the ``Authorization`` header: Basic, in base64url (RFC 4648, section 5) as D1 writes it."""
        pair = f"{self.client_id}:{self.client_secret}".encode()
        return f"Basic {base64.urlsafe_b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class EdgeResponse:
    """The edge's response."""

    status: int
    content_type: str
    """The media type without its parameters."""
    body: bytes = field(repr=False)


@dataclass(eq=False, slots=True)
class Exchange:
    """A call to the edge while it runs, and after."""

    name: str
    """The callback's name in D1's specification."""
    correlation_id: str
    began: float
    """When it was sent, in seconds since 1970 (UTC)."""
    milliseconds: float | None = None
    """The time to the response, or to giving up; None while it runs."""
    status: int | None = None
    """The response's status; None without a response."""
    problem: str | None = None
    """Why there was none."""
    fault: str | None = None
    """The fault on demand that it met."""


class EdgeClient:
    """Calls the edge on behalf of one issuer."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        issuer_id: str,
        *,
        clock: Callable[[], float],
        credentials: EdgeCredentials | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Use a session; `run` opens one.

        Args:
            session: Has D1's client certificate.
            issuer_id: The issuer of the cards and consumers.
            clock: Returns the time, in seconds since 1970 (UTC).
            credentials: The credentials for a bearer token; None for mutual TLS alone.
            faults: The faults on demand on the way to the edge.
        """
        self._session = session
        self._issuer_id = issuer_id
        self._clock = clock
        self._credentials = credentials
        self._faults = faults or Faults()
        self.banking_path = BANKING
        """Where the paths of callbacks about consumers begin."""
        self.on_exchange: Callable[[Exchange], None] = lambda _: None
        """Called when a call begins, and when it ends."""
        self._edges: tuple[URL, ...] = ()
        self._token = ""
        self._token_expiry = 0.0
        self._token_fetch = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def run(
        cls,
        tls: ssl.SSLContext,
        issuer_id: str,
        *,
        clock: Callable[[], float],
        credentials: EdgeCredentials | None = None,
        timeout_seconds: float = OUTBOUND_TIMEOUT_SECONDS,
        faults: Faults | None = None,
    ) -> AsyncIterator["EdgeClient"]:
        """Open a client for the duration of the block.

        Args:
            tls: Has D1's client certificate.
            issuer_id: As for the class.
            clock: As for the class.
            credentials: As for the class.
            timeout_seconds: The edge's time limit for a response.
            faults: As for the class.
        """
        connector, timeout = aiohttp.TCPConnector(ssl=tls), aiohttp.ClientTimeout(total=timeout_seconds)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield cls(session, issuer_id, clock=clock, credentials=credentials, faults=faults)

    def set_edge(self, url: str, *others: str) -> None:
        """Set the edge's URL, for example ``https://127.0.0.1:8443``. Tokens of earlier URLs are dropped.

        Args:
            url: The edge's URL.
            others: Further URLs, tried in turn when one is unreachable, as a load balancer does.
        """
        self._edges = tuple(URL(each) for each in (url, *others))
        self._token_expiry = 0.0

    async def call(
        self,
        call: Callback,
        ids: Mapping[str, str],
        *,
        correlation_id: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> EdgeResponse:
        """Make a call and return the response, whatever its status.

        Args:
            call: The callback.
            ids: The path parameters except the issuer's id.
            correlation_id: Sent as ``x-correlation-id``.
            body: The JSON body, if any.
            query: The query, if any.

        Raises:
            NotDeliveredError: No response in time, or no token.
            LostError: A fault on demand says that D1 does not send it, nor try again.
        """
        exchange = Exchange(call.name, correlation_id, self._clock())
        fault = self._faults.take(call.name, EVERY_CALLBACK)
        exchange.fault = None if fault is None else fault.what
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.on_exchange(exchange)
        try:
            content = None if body is None else orjson.dumps(body)
            if content is not None and fault is not None and fault.truncate:
                content = content[: len(content) // 2]
            exchanging = self._exchange(call, ids, correlation_id, content, query)
            response = await (exchanging if fault is None else self._with(fault, exchanging))
        except NotDeliveredError as error:
            exchange.problem = str(error)
            raise
        else:
            exchange.status = response.status
            return response
        finally:
            exchange.milliseconds = (loop.time() - began) * 1000
            self.on_exchange(exchange)

    async def _with(self, fault: Fault, exchanging: Coroutine[Any, Any, EdgeResponse]) -> EdgeResponse:
        """Meet a fault on the way to the edge, or back."""
        try:
            async with asyncio.timeout(self._session.timeout.total):
                await asyncio.sleep(fault.latency_ms / 1000)
                if fault.drop is Drop.FOR_GOOD:
                    raise LostError("D1 never sends it: a fault on demand")
                if fault.drop is Drop.BEFORE:
                    raise NotDeliveredError("The connection to the edge broke before the request: a fault on demand")
                if fault.status is not None:
                    body = FAULT_BODY if fault.body is None else fault.body
                    return EdgeResponse(fault.status, "application/json", body.encode())
                response = await exchanging
        except TimeoutError:
            raise NotDeliveredError("The edge did not respond in time: a fault on demand") from None
        finally:
            exchanging.close()
        if fault.drop is Drop.AFTER:
            raise NotDeliveredError("The connection to the edge broke before the response: a fault on demand")
        return response

    async def _exchange(
        self,
        call: Callback,
        ids: Mapping[str, str],
        correlation_id: str,
        content: bytes | None,
        query: Mapping[str, str] | None,
    ) -> EdgeResponse:
        path = call.path.format(issuerId=self._issuer_id, **ids)
        if path.startswith(f"{BANKING}/"):
            path = self.banking_path + path.removeprefix(BANKING)
        headers = {"x-correlation-id": correlation_id}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._credentials is not None:
            headers["Authorization"] = f"Bearer {await self._bearer_token(self._credentials)}"
        try:
            async with await self._request(
                call.method, path, data=content, params=query, headers=headers, allow_redirects=False
            ) as response:
                if response.status == HTTPStatus.UNAUTHORIZED:
                    self._token_expiry = 0.0
                return EdgeResponse(response.status, response.content_type, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotDeliveredError(f"The edge did not respond: {type(error).__name__}") from None

    async def _bearer_token(self, credentials: EdgeCredentials) -> str:
        async with self._token_fetch:
            if self._clock() >= self._token_expiry:
                self._token, lifetime_seconds = await self._fetch_token(credentials)
                self._token_expiry = self._clock() + lifetime_seconds
            return self._token

    async def _fetch_token(self, credentials: EdgeCredentials) -> tuple[str, float]:
        form = {"grant_type": "client_credentials"}
        if credentials.scope is not None:
            form["scope"] = credentials.scope
        headers = {"Authorization": credentials.authorization()}
        try:
            async with await self._request("POST", EDGE_TOKEN_PATH, data=form, headers=headers) as response:
                response.raise_for_status()
                token = await response.json()
                if token["token_type"] != "Bearer":  # noqa: S105 - not the token
                    raise NotDeliveredError("The edge issued no bearer token")
                # A string in D1's specification; without it, the token is used once.
                return str(token["access_token"]), float(token.get("expires_in", 0))
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise NotDeliveredError(f"The edge issued no token: {type(error).__name__}") from None

    async def _request(self, method: str, path: str, **arguments: Any) -> aiohttp.ClientResponse:
        if not self._edges:
            raise NotDeliveredError("No edge is set")
        *others, last = (edge / path.removeprefix("/") for edge in self._edges)
        for url in others:
            try:
                return await self._session.request(method, url, **arguments)
            except aiohttp.ClientSSLError:
                # Reachable, but with the wrong identity.
                raise
            except aiohttp.ClientConnectorError:
                continue
        return await self._session.request(method, last, **arguments)
