"""Passes calls on to the upstream, and nothing else: the minimum of a gateway.

The same REST requests over the same TLS as the gateway's, and replies made from the responses. There is no caller
identity, rule check, token request, card data encryption, time limit, metric or log.
"""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Self, TypeAlias

import aiohttp
import grpc
import orjson
from google.protobuf import json_format

from adapters.http.connection import encode_request
from adapters.http.pool import ConnectionPool
from bench.unary.surroundings import Surroundings
from issuer.card.v1 import messages_pb2 as card
from issuer.threeds.v1 import ares_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

__all__ = ["Context", "Passing", "Upstream"]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
"""The context of an rpc."""
_MAX_BODY_BYTES: Final = 1024 * 1024
_TIMEOUT_SECONDS: Final = 60.0


_Send: TypeAlias = Callable[[str, str, bytes, Mapping[str, str]], Awaitable[bytes]]
"""Sends method, path, body and headers; returns the body of the response."""


@asynccontextmanager
async def _aiohttp(surroundings: Surroundings) -> AsyncIterator[_Send]:
    connector = aiohttp.TCPConnector(
        limit=surroundings.connections,
        keepalive_timeout=surroundings.idle_seconds,
        ssl=surroundings.upstream_context(),
    )
    async with aiohttp.ClientSession(
        surroundings.upstream_url, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def send(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
            async with session.request(method, path, data=body, headers=headers, raise_for_status=True) as answer:
                return await answer.read()

        yield send


@asynccontextmanager
async def _own_exchange(surroundings: Surroundings) -> AsyncIterator[_Send]:
    pool = ConnectionPool(
        surroundings.upstream_url,
        surroundings.upstream_context(),
        connect_timeout_seconds=_TIMEOUT_SECONDS,
        max_body_bytes=_MAX_BODY_BYTES,
    )
    loop = asyncio.get_running_loop()

    async def send(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        request = encode_request(method, path, {"Host": pool.host_header, **headers}, body)
        response = await pool.exchange(request, loop.time() + _TIMEOUT_SECONDS)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"HTTP {response.status}")
        return response.body

    async with aclosing(pool):
        yield send


class Upstream:
    """The upstream. Made by `connect`."""

    def __init__(self, send: _Send, surroundings: Surroundings) -> None:
        self._send = send
        self._surroundings = surroundings

    @classmethod
    @asynccontextmanager
    async def connect(cls, surroundings: Surroundings, *, over_own_exchange: bool) -> AsyncIterator[Self]:
        """Keep connections, of aiohttp or of the gateway's own exchange, for the duration of the block."""
        connected = _own_exchange if over_own_exchange else _aiohttp
        async with connected(surroundings) as send:
            yield cls(send, surroundings)

    async def register_card(self, card_id: str, body: dict[str, str]) -> None:
        """Register a card. A fixed ciphertext stands for its data."""
        body["encryptedData"] = self._surroundings.encrypted_data
        await self.send("PUT", f"{self._surroundings.cards}/{card_id}", orjson.dumps(body))

    async def suspend_card(self, card_id: str, body: dict[str, str]) -> None:
        """Suspend a card."""
        await self.send("POST", f"{self._surroundings.cards}/{card_id}/operations:suspend", orjson.dumps(body))

    async def send(self, method: str, path: str, body: bytes) -> bytes:
        """Send a request; return the body of the response.

        Raises:
            Exception: The request failed.
        """
        headers = {
            "Authorization": f"Bearer {self._surroundings.token}",
            "Content-Type": "application/json",
            "x-correlation-id": uuid.uuid4().hex,
        }
        return await self._send(method, path, body, headers)


class Passing:
    """The rpcs."""

    def __init__(self, upstream: Upstream) -> None:
        """Use an upstream that outlives this."""
        self._upstream = upstream

    async def register_card(self, request: card.RegisterCardRequest, context: Context) -> card.RegisterCardResponse:
        """Register a card."""
        del context
        body = {
            "consumerId": request.consumer_id,
            "cardProductId": request.card_product_id,
            "state": card.InitialCardState.Name(request.state).removeprefix("INITIAL_CARD_STATE_"),
        }
        await self._upstream.register_card(request.card_id, body)
        return card.RegisterCardResponse()

    async def suspend_card(self, request: card.SuspendCardRequest, context: Context) -> card.SuspendCardResponse:
        """Suspend a card."""
        del context
        body = {"reasonCode": request.reason_code}
        await self._upstream.suspend_card(request.card_id, body)
        return card.SuspendCardResponse()

    async def authenticate(
        self, request: threeds.AuthenticateRequest, context: Context
    ) -> threeds.AuthenticateResponse:
        """Authenticate a cardholder, translated by ``json_format`` in both directions."""
        del context
        body = json_format.MessageToJson(request.areq, indent=None).encode()
        ares = json_format.Parse(await self._upstream.send("POST", "/auth/numbers", body), ares_pb2.ARes())
        return threeds.AuthenticateResponse(ares=ares, challenge=_challenge(ares))


def _challenge(ares: ares_pb2.ARes) -> threeds.BrowserChallenge:
    creq = {
        "threeDSServerTransID": ares.three_ds_server_trans_id,
        "acsTransID": ares.acs_trans_id,
        "messageVersion": "2.2.0",
        "messageType": "CReq",
        "challengeWindowSize": "05",
    }
    encoded = base64.urlsafe_b64encode(orjson.dumps(creq)).rstrip(b"=").decode()
    return threeds.BrowserChallenge(acs_url=ares.acs_url, creq=encoded, max_session_data_length=1024)
