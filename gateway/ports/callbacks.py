"""Callbacks that need a reply: the bus to handlers, and the results of authentications."""

from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias

from issuer.callback.v1 import messages_pb2 as callback
from issuer.consumer.v1.authentication_pb2 import AuthenticationResult

__all__ = ["Attempts", "AuthenticationResultStore", "CallbackBus", "CallbackOutcome", "NoReply", "outcome_of"]


class CallbackOutcome(StrEnum):
    """How a callback request ended: the word for it in logs and metrics."""

    ANSWERED = "answered"
    """A handler's reply counts."""
    REFUSED = "refused"
    """A handler's refusal counts."""
    FALLBACK = "fallback"
    """A handler had it, and none replied in time; or too many callback requests were open."""
    NO_HANDLER = "no_handler"
    """No handler had it: none was connected, or none had room before its deadline."""
    EXHAUSTED = "exhausted"
    """As many handlers had it as may, and all of them disconnected without a reply: it may be what they die of."""
    WITHDRAWN = "withdrawn"
    """Nobody waits for the reply any more: the platform hung up, or a result came another way."""


NoReply: TypeAlias = Literal[CallbackOutcome.FALLBACK, CallbackOutcome.NO_HANDLER, CallbackOutcome.EXHAUSTED]
"""Why there is no reply."""


class Attempts(NamedTuple):
    """How many handlers may get one callback request. Each may do the work."""

    most: int = 3
    """In all, for whatever reason."""
    if_slow: int = 1
    """Of these, because those before are slow."""


class CallbackBus(Protocol):
    """Carries a callback request to a handler, and its reply back."""

    async def ask(
        self,
        request: callback.CallbackRequest,
        seconds: float,
        *,
        attempts: Attempts = Attempts(),
        wait_for_handler: bool = True,
    ) -> callback.CallbackReply | NoReply:
        """Send a callback request and wait for the reply. If this is cancelled, the request is withdrawn.

        Args:
            request: The request with its issuer and correlation id; the bus sets the other fields.
            seconds: Time limit for the reply.
            attempts: How many handlers may get it.
            wait_for_handler: Whether to wait for a handler to connect if none is connected.

        Returns:
            A valid reply that fits the request, or why none arrived in time.
        """
        ...


def outcome_of(reply: callback.CallbackReply | NoReply) -> CallbackOutcome:
    """Return how a callback request ended that somebody waited for to the end."""
    if isinstance(reply, CallbackOutcome):
        return reply
    is_refusal = reply.WhichOneof("response") == "refusal"
    return CallbackOutcome.REFUSED if is_refusal else CallbackOutcome.ANSWERED


class AuthenticationResultStore(Protocol):
    """Final results of step-up authentications. The first result of an authentication is final.

    An authentication is a consumer's: the same id of another consumer or issuer is another authentication. Every method
    raises `gateway.errors.GatewayError` with STORE_UNAVAILABLE when the storage fails.
    """

    async def settle(self, issuer_id: str, consumer_id: str, result: AuthenticationResult) -> AuthenticationResult:
        """Store a final result unless there is one already; return the stored one."""
        ...

    async def find(
        self, issuer_id: str, consumer_id: str, authentication_id: str, *, wait_seconds: float = 0.0
    ) -> AuthenticationResult | None:
        """Return an authentication's final result, as soon as there is one; None if there is none in the end."""
        ...
