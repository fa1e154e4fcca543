"""Callback replies: the service's function runs once for each callback request, within its deadline."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import betterproto2

from d1_gateway_client.contracts.issuer.callback.v1 import (
    CallbackRefusal,
    CallbackRefusalReason,
    CallbackReply,
    CallbackRequest,
)

__all__ = ["CallbackContext", "Function", "Refuse", "Replies", "failed"]

_MAX_MESSAGE_CHARACTERS = 256

_log = logging.getLogger("d1_gateway_client")


@dataclass(frozen=True, slots=True)
class CallbackContext:
    """Metadata of a callback request."""

    issuer_id: str
    """The issuer that D1 calls."""
    correlation_id: str
    """The callback's id in the gateway's logs and in D1's."""
    attempt: int
    """Above 1, another handler got the request before: it may still work on it, or have finished unheard."""
    deadline: float
    """Time by the event loop's clock at which the function is cancelled: D1 then gets the fallback."""

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - asyncio.get_running_loop().time()


Function = Callable[[Any, CallbackContext], Awaitable[Any]]
"""A function of the service that handles one kind of callback."""


class Refuse(Exception):  # noqa: N818 (raising it refuses)
    """Raise this to refuse a callback request: D1 gets the refusal, and no other handler the request."""

    def __init__(self, reason: CallbackRefusalReason, message: str = "") -> None:
        """Refuse.

        Args:
            reason: Decides the HTTP status for D1.
            message: Text for D1, at most 256 characters, without personal data or secrets.

        Raises:
            ValueError: The message is too long.
        """
        if len(message) > _MAX_MESSAGE_CHARACTERS:
            raise ValueError(f"message: at most {_MAX_MESSAGE_CHARACTERS} characters")
        super().__init__(reason.name)
        self.reason = reason
        self.message = message


def failed(token: str) -> CallbackReply:
    """Return a refusal with the reason FAILED and no details."""
    return CallbackReply(token=token, refusal=CallbackRefusal(reason=CallbackRefusalReason.FAILED))


class Replies:
    """Makes replies, a limited number at once.

    A callback request that arrives again over another stream gets the same reply, so that a broken connection does not
    send a password twice.
    """

    def __init__(
        self, functions: Mapping[str, Function], responses: Mapping[str, type[betterproto2.Message]], max_in_flight: int
    ) -> None:
        """Create replies for a handler.

        Args:
            functions: The service's functions, by kind of callback.
            responses: The types of their responses, by kind of callback.
            max_in_flight: Maximum number of functions that run at once.
        """
        self._functions = functions
        self._responses = responses
        self._slots = asyncio.Semaphore(max_in_flight)
        self._pending: dict[str, tuple[float, asyncio.Task[CallbackReply | None]]] = {}

    async def reply(self, request: CallbackRequest) -> CallbackReply | None:
        """Return the reply to a callback request; None if there was none in time."""
        now = asyncio.get_running_loop().time()
        self._pending = {token: work for token, work in self._pending.items() if work[0] > now or not work[1].done()}
        if request.token not in self._pending:
            left = 0.0 if request.time_left is None else request.time_left.total_seconds()
            task = asyncio.create_task(self._make(request, now + left))
            self._pending[request.token] = (now + left, task)
        return await asyncio.shield(self._pending[request.token][1])

    async def aclose(self) -> None:
        """Cancel all running functions."""
        tasks = [task for _, task in self._pending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, request: CallbackRequest, deadline: float) -> CallbackReply | None:
        kind, content = betterproto2.which_one_of(request, "request")
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit, self._slots:
                context = CallbackContext(request.issuer_id, request.correlation_id, request.attempt, deadline)
                reply = self._reply(request.token, kind, await self._functions[kind](content, context))
        except Refuse as error:
            reply = CallbackReply(
                token=request.token, refusal=CallbackRefusal(reason=error.reason, message=error.message)
            )
        except Exception as error:  # noqa: BLE001 (D1 learns only that the callback failed)
            if limit.expired():
                _log.warning("no reply in time: %s, correlation id %s", kind, request.correlation_id)
                return None
            _log.error("handler failed: %s, %s, correlation id %s", kind, _place(error), request.correlation_id)
            reply = failed(request.token)
        return reply

    def _reply(self, token: str, kind: str, response: Any) -> CallbackReply:
        if not isinstance(response, self._responses[kind]):
            raise TypeError(f"{kind}: expected {self._responses[kind].__name__}, not {type(response).__name__}")
        reply = CallbackReply(token=token)
        setattr(reply, kind, response)
        # A reply that cannot be serialized fails here, where it becomes a refusal.
        bytes(reply)
        return reply


def _place(error: Exception) -> str:
    """Return the type and place of an exception, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__qualname__} at {frames[-1].filename}:{frames[-1].lineno}"
