"""A call of D1's API: its token, its deadline, and the meaning of its answer."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson

from adapters.d1.api.endpoints import Endpoint
from adapters.d1.api.errors import deadline_exceeded, refusal
from adapters.d1.api.http import D1Http
from adapters.d1.api.keys import IssuerKeys
from adapters.d1.api.oauth import TokenSource
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.ports import Call
from gateway.ports.meter import Unmeasured, UpstreamMeter
from gateway.settings import UpstreamSettings
from issuer.common.v1 import error_pb2

__all__ = ["D1Client", "connect"]


class D1Client:
    """One D1 environment, as several ports use it. Made by `connect`."""

    def __init__(self, http: D1Http, tokens: TokenSource, keys: Mapping[str, IssuerKeys]) -> None:
        """Join the parts.

        Args:
            http: The exchange of a request for an answer.
            tokens: The access tokens.
            keys: The keys of each issuer, by its id.
        """
        self._http = http
        self._tokens = tokens
        self._keys = keys

    def keys(self, issuer_id: str) -> IssuerKeys:
        """Get an issuer's keys.

        Raises:
            GatewayError: ISSUER_UNKNOWN.
        """
        keys = self._keys.get(issuer_id)
        if keys is None:
            raise GatewayError(
                error_pb2.ERROR_REASON_ISSUER_UNKNOWN,
                "No such issuer is configured for D1.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
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
        """Make a call and return its answer, which is one of success.

        A token that D1 refuses is replaced once, and the call, which D1 has not carried out then, made again. What has
        failed is repeated where that is safe, see `adapters.http.retry`.

        Args:
            endpoint: Which call.
            call: For whom, and until when.
            body: The JSON object to send; None to send none.
            query: The parameters to send behind the path.
            user_id: Goes to D1 as ``x-user-id``, unless it is empty.
            **ids: What stands in the path beside the issuer's id.

        Raises:
            GatewayError: Anything else; its outcome tells whether D1 may have acted.
        """
        self.keys(call.issuer_id)
        path = endpoint.path(issuer_id=call.issuer_id, **ids)
        if query:
            path += f"?{urlencode(query)}"
        content = None if body is None else orjson.dumps(body)
        deadline = self._http.deadline(call)
        answer = await self._authorised(endpoint, path, call, user_id, content, deadline)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            answer = await self._authorised(endpoint, path, call, user_id, content, deadline)
        if not answer.succeeded:
            raise refusal(answer)
        return answer

    async def _authorised(
        self, endpoint: Endpoint, path: str, call: Call, user_id: str, content: bytes | None, deadline: float
    ) -> UpstreamResponse:
        self._http.expect_closed_circuit()
        token = await self._token(call, deadline)
        headers = _headers(call, token, user_id)
        if content is not None:
            headers["Content-Type"] = "application/json"

        async def attempt() -> UpstreamResponse:
            answer = await self._http.send(
                endpoint.method, path, endpoint=endpoint.template, headers=headers, body=content, deadline=deadline
            )
            if answer.succeeded or answer.status == HTTPStatus.UNAUTHORIZED:
                return answer
            raise refusal(answer)

        answer = await self._http.retried(
            attempt,
            method=endpoint.method,
            endpoint=endpoint.template,
            deadline=deadline,
            idempotent=endpoint.idempotent,
        )
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._tokens.discard(call.issuer_id, token)
        return answer

    async def _token(self, call: Call, deadline: float) -> str:
        held = self._tokens.held(call.issuer_id, call.correlation_id)
        if held is not None:
            return held
        try:
            async with asyncio.timeout_at(deadline):
                return await self._tokens.get(call.issuer_id, call.correlation_id)
        except TimeoutError:
            raise deadline_exceeded(sent=False) from None


def _headers(call: Call, token: str, user_id: str) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {token}",
        "x-correlation-id": call.correlation_id,
    }
    if user_id:
        headers["x-user-id"] = user_id
    return headers


@asynccontextmanager
async def connect(
    settings: UpstreamSettings,
    keys: Mapping[str, IssuerKeys],
    tls: ssl.SSLContext | None,
    meter: UpstreamMeter = Unmeasured(),  # noqa: B008  without state
    *,
    assertion_audience: str | None = None,
) -> AsyncIterator[D1Client]:
    """Hold the connections to one D1 environment for as long as the context lasts.

    Args:
        settings: Where D1 is, and the limits.
        keys: The keys of each issuer, by its id.
        tls: With the client certificate for mTLS and the trusted authorities; None only for plain HTTP on loopback.
        meter: Told of every request.
        assertion_audience: The ``aud`` claim of assertions; None leaves it out.

    Raises:
        ValueError: HTTPS without a TLS context.
    """
    async with (
        aclosing(D1Http(settings, tls, meter)) as http,
        aclosing(TokenSource(http, keys, settings, assertion_audience=assertion_audience)) as tokens,
    ):
        yield D1Client(http, tokens, keys)
