"""Hands D1's questions to the handlers, and finds the answer if there is no reply, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from gateway.edge.responses import HttpError
from gateway.logging import correlation
from gateway.ports import CallbackBus
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2

__all__ = ["CallbackDispatcher", "CallbackPolicy", "NoReplyError"]

_REFUSALS: Final[Mapping[int, tuple[HTTPStatus, str]]] = MappingProxyType(
    {
        replies_pb2.REFUSAL_REASON_INVALID: (HTTPStatus.BAD_REQUEST, "the request cannot be understood"),
        replies_pb2.REFUSAL_REASON_NOT_ALLOWED: (HTTPStatus.FORBIDDEN, "not allowed in the present state"),
        replies_pb2.REFUSAL_REASON_NOT_FOUND: (HTTPStatus.NOT_FOUND, "not found"),
        replies_pb2.REFUSAL_REASON_FAILED: (HTTPStatus.INTERNAL_SERVER_ERROR, "the issuer failed"),
    }
)


@dataclass(frozen=True, slots=True)
class CallbackPolicy:
    """How long a kind of question waits for a reply, and what D1 is told if there is none."""

    deadline_seconds: float
    fallback_status: int
    fallback_error: str


class NoReplyError(HttpError):
    """No handler replied in time: D1 gets the fallback."""


class CallbackDispatcher:
    """Asks handlers what D1 asks."""

    def __init__(self, bus: CallbackBus) -> None:
        """Ask over a bus.

        Args:
            bus: Leads to the handlers.
        """
        self._bus = bus

    async def ask(
        self, question: callback.Question, policy: CallbackPolicy, *, wait_for_handler: bool = True
    ) -> callback.Reply:
        """Ask, and return the reply that counts.

        Args:
            question: Its issuer and its request.
            policy: How long to wait, and what to say otherwise.
            wait_for_handler: Whether to wait for a handler to connect while none is.

        Raises:
            NoReplyError: There is no reply.
            HttpError: The handler refuses.
        """
        question.correlation_id = correlation.current()
        reply = await self._bus.ask(question, policy.deadline_seconds, wait_for_handler=wait_for_handler)
        if reply is None:
            raise NoReplyError(policy.fallback_status, policy.fallback_error)
        if reply.WhichOneof("response") == "refusal":
            status, text = _REFUSALS[reply.refusal.reason]
            raise HttpError(status, reply.refusal.message or text, logged=f"the handler refused: {text}")
        return reply
