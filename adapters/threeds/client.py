"""A call of the 3-D Secure server: its key, its deadline, its repetition, and the meaning of its answer."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from adapters.answers import Answer
from adapters.http import HttpExchange
from adapters.threeds import codec
from adapters.threeds.errors import THREEDS, ErroError, refusal
from adapters.threeds.settings import ThreeDSSettings
from adapters.upstream import RETRYABLE
from gateway.errors import GatewayError
from gateway.ports import Call
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import erro_pb2

__all__ = ["ThreeDSClient", "connect"]

_ATTEMPTS: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.1
_WORTH_REPEATING: Final = RETRYABLE | {
    error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER,
    error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE,
}
"""Beside a connection that was not made, which every call may try again."""


class ThreeDSClient:
    """One environment of the 3-D Secure server. Made by `connect`."""

    def __init__(self, http: HttpExchange, settings: ThreeDSSettings) -> None:
        """Join the parts.

        Args:
            http: The exchange of a request for an answer.
            settings: Who we are there.
        """
        self._http = http
        self._headers = {
            "APIKey": settings.api_key.reveal(),
            "Content-Type": "application/json; charset=utf-8",
        }

    async def call(self, path: str, body: bytes, call: Call, *, answer_type: str, repeatable: bool) -> dict[str, Any]:
        """Make a call and return the JSON object that it is answered with, which is one of success.

        Args:
            path: Which call.
            body: The JSON object to send.
            call: Until when.
            answer_type: The ``messageType`` of a success.
            repeatable: Whether the call may go out again after it was sent. Without a connection any call may.

        Raises:
            ErroError: A party answered with an Erro.
            GatewayError: Anything else; its outcome tells whether the request may have taken effect.
        """
        loop = asyncio.get_running_loop()
        deadline = self._http.deadline(call)
        attempt = 1
        while True:
            try:
                answer = await self._http.send("POST", path, headers=self._headers, body=body, deadline=deadline)
                return _read(answer, answer_type)
            except GatewayError as error:
                pause = _pause_seconds(error, attempt)
                may_repeat = attempt < _ATTEMPTS and _is_worth_repeating(error, repeatable=repeatable)
                if not may_repeat or loop.time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            attempt += 1


def _is_worth_repeating(error: GatewayError, *, repeatable: bool) -> bool:
    if error.reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE:
        return True
    return repeatable and error.reason in _WORTH_REPEATING


def _pause_seconds(error: GatewayError, attempt: int) -> float:
    """Tell how long to wait: longer each time, never the same, and no less than the server asks for."""
    backoff = _FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, no secret
    asked = error.retry_after_seconds if error.reason in RETRYABLE else None
    return max(backoff, asked or 0.0)


def _read(answer: Answer, answer_type: str) -> dict[str, Any]:
    """Read an answer. A failure is an Erro, whatever its status, or any status but 200, whatever its body."""
    message = answer.json_object()
    message_type = None if message is None else message.get("messageType")
    if message is not None and message_type == "Erro":
        raise ErroError(codec.decode(erro_pb2.Erro, message), answer.status)
    if answer.status != HTTPStatus.OK:
        raise refusal(answer)
    # The server's documentation shows card range data without a type.
    if message is None or message_type not in (answer_type, None):
        raise THREEDS.contract_broken(f"The answer of the 3DS server is no {answer_type}.", status=answer.status)
    return message


@asynccontextmanager
async def connect(settings: ThreeDSSettings, tls: ssl.SSLContext | None) -> AsyncIterator[ThreeDSClient]:
    """Hold the connections to one environment for as long as the context lasts.

    Args:
        settings: Where it is, who we are there, and the limits.
        tls: With the trusted authorities; None only for plain HTTP on loopback.

    Raises:
        ValueError: HTTPS without a TLS context.
    """
    async with aclosing(HttpExchange(THREEDS, settings, tls)) as http:
        yield ThreeDSClient(http, settings)
