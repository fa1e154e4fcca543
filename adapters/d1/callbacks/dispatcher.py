"""Sends callback requests to handlers, and turns a declining or missing reply into a response to D1."""

from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Final

from aiohttp import web

from adapters.d1.assumptions import Assumption
from gateway.edge.platform import CALLBACK_OUTCOME
from gateway.edge.responses import HttpError
from gateway.edge.server_connection import while_connected
from gateway.logging import correlation
from gateway.ports import Attempts, CallbackBus, CallbackOutcome, NoReply, outcome_of
from gateway.settings import CallbackPolicySettings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2

__all__ = ["REFUSAL_STATUSES", "CallbackDispatcher", "NoReplyError"]

_DECLINED: Final[Mapping[int, tuple[HTTPStatus, str]]] = MappingProxyType(
    {
        replies_pb2.CALLBACK_REFUSAL_REASON_INVALID: (HTTPStatus.BAD_REQUEST, "the request is invalid"),
        replies_pb2.CALLBACK_REFUSAL_REASON_NOT_ALLOWED: (HTTPStatus.FORBIDDEN, "not allowed in the current state"),
        replies_pb2.CALLBACK_REFUSAL_REASON_NOT_FOUND: (HTTPStatus.NOT_FOUND, "not found"),
        replies_pb2.CALLBACK_REFUSAL_REASON_FAILED: (HTTPStatus.INTERNAL_SERVER_ERROR, "the issuer failed"),
    }
)
REFUSAL_STATUSES: Annotated[
    frozenset[HTTPStatus],
    Assumption(
        what="D1 understands these statuses of each callback request",
        basis="an integrator's list of them; D1 shows some for each callback",
        if_wrong="D1 takes a refusal for a failure, and may ask again.",
    ),
] = frozenset(status for status, _ in _DECLINED.values())
"""Statuses that D1 gets if a handler declines."""


class NoReplyError(HttpError):
    """No handler replied in time; D1 gets the fallback."""


class CallbackDispatcher:
    """Sends callback requests to handlers over the bus."""

    def __init__(self, bus: CallbackBus) -> None:
        self._bus = bus

    async def ask(
        self,
        received: web.Request,
        request: callback.CallbackRequest,
        policy: CallbackPolicySettings,
        *,
        wait_for_handler: bool = True,
    ) -> callback.CallbackReply:
        """Send a callback request and return the reply. If D1 hangs up, the request is withdrawn.

        Args:
            received: D1's HTTP request.
            request: The request, with its issuer.
            policy: Deadline, fallback, and how many handlers may get it.
            wait_for_handler: Whether to wait for a handler to connect if none is connected.

        Raises:
            CallerGoneError: D1 hung up.
            NoReplyError: No handler replied in time.
            HttpError: The handler declined.
        """
        request.correlation_id = correlation.current()

        def ask() -> "Awaitable[callback.CallbackReply | NoReply]":
            received[CALLBACK_OUTCOME] = CallbackOutcome.WITHDRAWN
            return self._bus.ask(
                request,
                policy.deadline_seconds,
                attempts=Attempts(policy.max_attempts, policy.max_attempts_if_slow),
                wait_for_handler=wait_for_handler,
            )

        reply = await while_connected(received, ask)
        received[CALLBACK_OUTCOME] = outcome = outcome_of(reply)
        if isinstance(reply, CallbackOutcome):
            sent = _sent(policy.fallback_status, policy.fallback_error)
            raise NoReplyError(policy.fallback_status, sent, logged=policy.fallback_error)
        if outcome is CallbackOutcome.REFUSED:
            status, text = _DECLINED[reply.refusal.reason]
            sent = _sent(status, reply.refusal.message or text)
            raise HttpError(status, sent, logged=f"the handler declined: {text}")
        return reply


def _sent(status: int, text: str) -> str:
    # D1 documents no body for 403.
    return "" if status == HTTPStatus.FORBIDDEN else text
