"""Calls to the 3-D Secure server: API key, deadline, retries, interpretation of responses."""

import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from pydantic import SecretStr

from adapters.http.client import HttpExchange
from adapters.http.response import UpstreamResponse
from adapters.threeds import codec
from adapters.threeds.errors import THREEDS, ErroError, is_erro, rejection
from gateway.ports import Call
from gateway.ports.meter import Unmeasured, UpstreamMeter
from gateway.settings import ThreeDSSettings
from issuer.threeds.v1 import erro_pb2

__all__ = ["ThreeDSClient", "connect"]

_METHOD: Final = "POST"
_UNTYPED: Final = "CRD"
"""The message that the server's documentation shows without a type."""


class ThreeDSClient:
    """Client of one environment of the 3-D Secure server, created by `connect`."""

    def __init__(self, http: HttpExchange, api_key: SecretStr) -> None:
        self._http = http
        self.use(api_key)

    def use(self, api_key: SecretStr) -> None:
        """Send another API key from the next request on."""
        self._headers = {
            "APIKey": api_key.get_secret_value(),
            "Content-Type": "application/json; charset=utf-8",
        }

    async def call(self, path: str, body: bytes, call: Call, *, expected_type: str, idempotent: bool) -> dict[str, Any]:
        """Make a call and return the JSON object of its successful response.

        Args:
            path: Path of the call.
            body: The JSON object to send.
            call: Context of the caller, with its deadline.
            expected_type: ``messageType`` of a successful response.
            idempotent: Whether a request that was sent may be sent again, and changes nothing if it fails. Without a
                connection any call may be retried.

        Raises:
            ErroError: A party responded with an Erro.
            GatewayError: Any other failure; its outcome says whether the request may have taken effect.
        """
        deadline = self._http.deadline(call)

        async def attempt() -> dict[str, Any]:
            response = await self._http.send(
                _METHOD, path, endpoint=path, headers=self._headers, body=body, deadline=deadline
            )
            return _read(response, expected_type, harmless=idempotent)

        return await self._http.retried(
            attempt, method=_METHOD, endpoint=path, deadline=deadline, idempotent=idempotent
        )


def _is_failure(response: UpstreamResponse) -> bool:
    # An Erro does not count, whatever its status, because many report the fault of another party.
    if response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return False
    return not is_erro(response.json_object() or {})


def _read(response: UpstreamResponse, expected_type: str, *, harmless: bool) -> dict[str, Any]:
    """Interpret a response. An Erro is a failure whatever its status, any status but 200 whatever its body."""
    message = response.json_object()
    if message is not None and is_erro(message):
        raise ErroError(codec.decode(erro_pb2.Erro, message), response.status, harmless=harmless)
    if response.status != HTTPStatus.OK or response.is_foreign:
        raise rejection(response)
    expected = (expected_type, None) if expected_type == _UNTYPED else (expected_type,)
    if message is None or message.get("messageType") not in expected or message.get("errorCode"):
        raise THREEDS.contract_broken(f"The 3DS server's response is no {expected_type}.", status=response.status)
    return message


@asynccontextmanager
async def connect(
    settings: ThreeDSSettings,
    tls: ssl.SSLContext | None,
    meter: UpstreamMeter = Unmeasured(),  # noqa: B008  without state
) -> AsyncIterator[ThreeDSClient]:
    """Connect to one environment for as long as the context lasts.

    Args:
        settings: Address, API key and limits.
        tls: Trusted CAs; None for plain HTTP on loopback only.
        meter: Receives requests, retries and circuit breaker states.

    Raises:
        ValueError: HTTPS without a TLS context, or the API key file holds no key.
    """
    api_key = settings.read_api_key()
    async with aclosing(HttpExchange(THREEDS, settings, tls, meter, is_failure=_is_failure)) as http:
        yield ThreeDSClient(http, api_key)
