"""The handlers of the issuer, as the edge asks them."""

from typing import Protocol

from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["CallbackBus"]


class CallbackBus(Protocol):
    """Carries a question to a handler, and the one reply that counts back."""

    async def ask(self, question: callback.Question, seconds: float, *, waits: bool = True) -> callback.Reply | None:
        """Ask.

        Args:
            question: Its issuer, correlation id and request; the bus fills in the rest.
            seconds: How long there is for the reply.
            waits: Whether there is a point in waiting for a handler to connect while none is.

        Returns:
            A reply that keeps its contract and fits the question; None if none came in time.
        """
        ...
