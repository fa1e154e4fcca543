"""A request on its way."""

import asyncio
from collections.abc import Callable
from typing import Final

from nats.aio.msg import Msg

from adapters.nats.connection.errors import NatsError, NoResponderError

__all__ = ["Exchange"]

_NO_RESPONDERS: Final = "503"


class Exchange:
    """What came of a request's answer yet."""

    __slots__ = ("_is_last", "answer", "done")

    def __init__(self, done: asyncio.Future[None], is_last: Callable[[Msg], bool] | None) -> None:
        """Begin without any.

        Args:
            done: Told when the answer is whole, or will not come.
            is_last: Tells the last message of the answer; None if one message is all of it.
        """
        self.answer: list[Msg] = []
        """Its messages."""
        self.done = done
        self._is_last = is_last

    def receive(self, message: Msg) -> None:
        """Take a message of the answer.

        What comes after its end is no part of it: while servers change their leader, two may take themselves for it,
        and both answer.
        """
        if self.done.done():
            return
        if message.headers and not message.data and message.headers.get("Status") == _NO_RESPONDERS:
            self.fail(NoResponderError, "Nobody at NATS listens there.")
            return
        self.answer.append(message)
        if self._is_last is None or self._is_last(message):
            self.done.set_result(None)

    def fail(self, failure: type[NatsError], message: str) -> None:
        """Let the answer not come."""
        if not self.done.done():
            self.done.set_exception(failure(message))
