"""Callbacks that want an answer: the way to handlers, and the results of authentications."""

from typing import Protocol

from issuer.callback.v1 import messages_pb2 as callback
from issuer.consumer.v1.authentication_pb2 import AuthenticationResult

__all__ = ["AuthenticationResultStore", "CallbackBus"]


class CallbackBus(Protocol):
    """Carries a question to a handler, and the one reply that counts back."""

    async def ask(
        self, question: callback.Question, seconds: float, *, wait_for_handler: bool = True
    ) -> callback.Reply | None:
        """Ask.

        Args:
            question: Its issuer, correlation id and request; the bus fills in the rest.
            seconds: How long there is for the reply.
            wait_for_handler: Whether there is a point in waiting for a handler to connect while none is.

        Returns:
            A reply that keeps its contract and fits the question; None if none came in time.
        """
        ...


class AuthenticationResultStore(Protocol):
    """The final results of step-up authentications. The first one stands.

    Every method raises `gateway.errors.GatewayError` with STORE_UNAVAILABLE when the storage fails.
    """

    async def settle(self, issuer_id: str, result: AuthenticationResult) -> AuthenticationResult:
        """Store a final result unless there is one. Returns the result that stands."""
        ...

    async def find(self, issuer_id: str, authentication_id: str) -> AuthenticationResult | None:
        """Return the final result of an authentication; None while there is none, or after its time to live."""
        ...
