"""Calls to D1's API: access token, deadline, retries, interpretation of responses."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson

from adapters.d1.api.endpoints import USER_HEADER, Endpoint
from adapters.d1.api.errors import D1, deadline_exceeded, expect_success
from adapters.d1.api.keys import IssuerKeys
from adapters.d1.api.oauth import TokenSource
from adapters.http.client import HttpExchange
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.logging import correlation
from gateway.ports import Call
from gateway.ports.meter import Unmeasured, UpstreamMeter
from gateway.settings import UpstreamSettings
from issuer.common.v1 import error_pb2

__all__ = ["D1Client", "Identity", "connect"]


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A client certificate for D1: of one issuer, or of several."""

    tls: ssl.SSLContext | None
    """Trusted CAs and the client certificate for mTLS; None for plain HTTP on loopback only."""
    describe: Callable[[], str] = str
    """Describes the client certificate in use, for errors."""
    is_common: bool = True
    """Whether it is that of all issuers without their own."""


class D1Client:
    """Client of one D1 environment, created by `connect`."""

    def __init__(
        self, connections: Mapping[str, HttpExchange], tokens: TokenSource, keys: Mapping[str, IssuerKeys]
    ) -> None:
        self._connections = connections
        self._tokens = tokens
        self._keys = keys

    async def token_refusal(self, issuer_id: str) -> str:
        """Try to get an issuer's access token. Returns why there is none, in D1's words if it has any; empty if not."""
        return await self._tokens.refusal(issuer_id, correlation.new())

    def keys(self, issuer_id: str) -> IssuerKeys:
        """Return an issuer's keys.

        Raises:
            GatewayError: ISSUER_UNKNOWN.
        """
        keys = self._keys.get(issuer_id)
        if keys is None:
            raise GatewayError(
                error_pb2.ERROR_REASON_ISSUER_UNKNOWN,
                "No such issuer is configured for D1.",
                outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
            )
        return keys

    async def call(
        self,
        endpoint: Endpoint,
        call: Call,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, int] | None = None,
        user_id: str = "",
        **ids: str,
    ) -> UpstreamResponse:
        """Make a call and return its successful response.

        If D1 rejects the token, and so has not executed the call, the call is repeated once with a new token, unless D1
        rejects new ones too. Other failures are retried where that is safe, see `adapters.http.retry`.

        Args:
            endpoint: The call to make.
            call: Context of the caller: issuer, correlation id, deadline.
            body: The JSON object to send; None for no body.
            query: Query parameters.
            user_id: Value of ``x-user-id``; empty to send none.
            **ids: Ids in the path other than the issuer's.

        Raises:
            GatewayError: The call failed; the outcome says whether D1 may have acted.
        """
        self.keys(call.issuer_id)
        path = endpoint.path(issuer_id=call.issuer_id, **ids)
        if query:
            path += f"?{urlencode(query)}"
        content = None if body is None else orjson.dumps(body)
        deadline = self._connections[call.issuer_id].deadline(call)
        token = await self._token(call, deadline)
        try:
            return await self._authorised(endpoint, path, call, token, user_id, content, deadline)
        except GatewayError as error:
            if not _is_token_rejected(error) or not self._tokens.discard(call.issuer_id, token):
                raise
        token = await self._token(call, deadline)
        return await self._authorised(endpoint, path, call, token, user_id, content, deadline)

    async def _authorised(
        self,
        endpoint: Endpoint,
        path: str,
        call: Call,
        token: str,
        user_id: str,
        content: bytes | None,
        deadline: float,
    ) -> UpstreamResponse:
        http = self._connections[call.issuer_id]
        headers = _headers(call, token, user_id)
        if content is not None:
            headers["Content-Type"] = "application/json"

        async def attempt() -> UpstreamResponse:
            response = await http.send(
                endpoint.method,
                path,
                endpoint=endpoint.template,
                headers=headers,
                body=content,
                deadline=deadline,
                is_background=call.is_background,
            )
            if response.status != HTTPStatus.UNAUTHORIZED:
                self._tokens.accepted(call.issuer_id, token)
            expect_success(response)
            return response

        return await http.retried(
            attempt,
            method=endpoint.method,
            endpoint=endpoint.template,
            deadline=deadline,
            idempotent=endpoint.idempotent,
            is_background=call.is_background,
        )

    async def _token(self, call: Call, deadline: float) -> str:
        self._connections[call.issuer_id].expect_closed_circuit()
        cached = self._tokens.cached(call.issuer_id, call.correlation_id)
        if cached is not None:
            return cached
        try:
            async with asyncio.timeout_at(deadline):
                return await self._tokens.get(call.issuer_id, call.correlation_id)
        except TimeoutError:
            raise self._tokens.failure(call.issuer_id) or deadline_exceeded(sent=False) from None


def _is_token_rejected(error: GatewayError) -> bool:
    # If an attempt before was lost, or no token could be had, the outcome is another.
    is_rejected = error.outcome == error_pb2.ERROR_OUTCOME_REJECTED
    return is_rejected and error.reason == error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION


def _headers(call: Call, token: str, user_id: str) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {token}",
        correlation.HEADER: call.correlation_id,
    }
    if user_id:
        headers[USER_HEADER] = user_id
    return headers


@asynccontextmanager
async def connect(
    settings: UpstreamSettings,
    keys: Mapping[str, IssuerKeys],
    identities: Mapping[str, Identity],
    meter: UpstreamMeter = Unmeasured(),  # noqa: B008  without state
    *,
    common: Identity | None = None,
    assertion_audience: str = "",
) -> AsyncIterator[D1Client]:
    """Connect to one D1 environment for as long as the context lasts.

    Args:
        settings: Address, and the limits of each identity's connections.
        keys: Keys by issuer id.
        identities: Identities by issuer id. Issuers with the same one share its connections and circuit breaker.
        meter: Receives requests, retries and circuit breaker states.
        common: The identity with which tokens of aggregators are fetched; None if no issuer has an aggregator.
        assertion_audience: The ``aud`` claim of assertions; empty to leave it out.

    Raises:
        ValueError: HTTPS without a TLS context, or an aggregator without a common identity.
    """
    async with AsyncExitStack() as stack:
        owners: dict[Identity, list[str]] = {} if common is None else {common: []}
        for issuer_id, identity in identities.items():
            owners.setdefault(identity, []).append(issuer_id)
        exchanges: dict[Identity, HttpExchange] = {}
        for identity, issuer_ids in owners.items():
            http = HttpExchange(
                D1,
                settings,
                identity.tls,
                meter,
                client_certificate=identity.describe,
                issuer_ids=() if identity.is_common else issuer_ids,
            )
            exchanges[identity] = await stack.enter_async_context(aclosing(http))
        connections = {issuer_id: exchanges[identity] for issuer_id, identity in identities.items()}
        source = TokenSource(
            connections,
            keys,
            settings,
            common=None if common is None else exchanges[common],
            assertion_audience=assertion_audience,
        )
        tokens = await stack.enter_async_context(aclosing(source))
        yield D1Client(connections, tokens, keys)
