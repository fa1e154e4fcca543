"""A call of the 3-D Secure server: its key, its deadline, its repetition, and the meaning of its answer."""

import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from pydantic import SecretStr

from adapters.http.client import HttpExchange
from adapters.http.response import UpstreamResponse
from adapters.threeds import codec
from adapters.threeds.errors import THREEDS, ErroError, refusal
from gateway.ports import Call
from gateway.ports.meter import Unmeasured, UpstreamMeter
from gateway.settings import ThreeDSSettings
from issuer.threeds.v1 import erro_pb2

__all__ = ["ThreeDSClient", "connect"]

_METHOD: Final = "POST"
_ERRO: Final = "Erro"


class ThreeDSClient:
    """One environment of the 3-D Secure server. Made by `connect`."""

    def __init__(self, http: HttpExchange, api_key: SecretStr) -> None:
        """Join the parts.

        Args:
            http: The exchange of a request for an answer.
            api_key: Goes with every call.
        """
        self._http = http
        self._headers = {
            "APIKey": api_key.get_secret_value(),
            "Content-Type": "application/json; charset=utf-8",
        }

    async def call(self, path: str, body: bytes, call: Call, *, answer_type: str, idempotent: bool) -> dict[str, Any]:
        """Make a call and return the JSON object that it is answered with, which is one of success.

        Args:
            path: Which call.
            body: The JSON object to send.
            call: Until when.
            answer_type: The ``messageType`` of a success.
            idempotent: Whether the call may go out again after it was sent. Without a connection any call may.

        Raises:
            ErroError: A party answered with an Erro.
            GatewayError: Anything else; its outcome tells whether the request may have taken effect.
        """
        deadline = self._http.deadline(call)

        async def attempt() -> dict[str, Any]:
            answer = await self._http.send(
                _METHOD, path, endpoint=path, headers=self._headers, body=body, deadline=deadline
            )
            return _read(answer, answer_type)

        return await self._http.retried(
            attempt, method=_METHOD, endpoint=path, deadline=deadline, idempotent=idempotent
        )


def _is_failure(answer: UpstreamResponse) -> bool:
    """Tell an answer of a server that does not work. An Erro is none, whatever its status: many speak of others."""
    if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return False
    return (answer.json_object() or {}).get("messageType") != _ERRO


def _read(answer: UpstreamResponse, answer_type: str) -> dict[str, Any]:
    """Read an answer. A failure is an Erro, whatever its status, or any status but 200, whatever its body."""
    message = answer.json_object()
    message_type = None if message is None else message.get("messageType")
    if message is not None and message_type == _ERRO:
        raise ErroError(codec.decode(erro_pb2.Erro, message), answer.status)
    if answer.status != HTTPStatus.OK:
        raise refusal(answer)
    # The server's documentation shows card range data without a type.
    if message is None or message_type not in (answer_type, None):
        raise THREEDS.contract_broken(f"The answer of the 3DS server is no {answer_type}.", status=answer.status)
    return message


@asynccontextmanager
async def connect(
    settings: ThreeDSSettings,
    tls: ssl.SSLContext | None,
    meter: UpstreamMeter = Unmeasured(),  # noqa: B008  without state
) -> AsyncIterator[ThreeDSClient]:
    """Hold the connections to one environment for as long as the context lasts.

    Args:
        settings: Where it is, who we are there, and the limits.
        tls: With the trusted authorities; None only for plain HTTP on loopback.
        meter: Told of every request.

    Raises:
        ValueError: HTTPS without a TLS context, or the file of the API key holds none.
    """
    api_key = settings.read_api_key()
    async with aclosing(HttpExchange(THREEDS, settings, tls, meter, is_failure=_is_failure)) as http:
        yield ThreeDSClient(http, api_key)
