"""Receivers of messages: subscriptions, and requests that await their response."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from adapters.nats.connection.dial import BROKEN
from adapters.nats.connection.errors import NatsError, NoResponderError

__all__ = ["Exchange", "Subscription"]

_NO_RESPONDERS: Final = "503"


class Subscription:
    """A subscription to a subject, over successive connections, until `Connection.unsubscribe`."""

    def __init__(self, subject: str, handler: Callable[[Msg], None]) -> None:
        """Use `Connection.subscribe`."""
        self.client: Client | None = None
        """The client of the present connection."""
        self._subject = subject
        self._handler = handler
        self._current: ClientSubscription | None = None

    async def begin(self, client: Client) -> None:
        """Subscribe over a new connection. For `Connection` only."""
        self.client = client
        self._current = await client.subscribe(self._subject, cb=self._handle)

    async def end(self) -> None:
        """Unsubscribe from the present connection. For `Connection` only."""
        if self._current is not None:
            with suppress(*BROKEN):
                await self._current.unsubscribe()

    async def _handle(self, message: Msg) -> None:
        self._handler(message)


class Exchange:
    """A request and the messages of its response so far."""

    __slots__ = ("_is_last", "done", "response")

    def __init__(self, done: asyncio.Future[None], is_last: Callable[[Msg], bool] | None) -> None:
        """Begin without a response.

        Args:
            done: Completed when the response is complete, or fails.
            is_last: Recognises the last message of the response; None for a response of one message.
        """
        self.response: list[Msg] = []
        """The messages."""
        self.done = done
        self._is_last = is_last

    def receive(self, message: Msg) -> None:
        """Add a message of the response."""
        # While servers change their leader, two may consider themselves the leader and both respond: the first counts.
        if self.done.done():
            return
        if message.headers and not message.data and message.headers.get("Status") == _NO_RESPONDERS:
            self.fail(NoResponderError, "The subject has no subscriber at NATS.")
            return
        self.response.append(message)
        if self._is_last is None or self._is_last(message):
            self.done.set_result(None)

    def fail(self, error: type[NatsError], message: str) -> None:
        """Fail the request, unless the response is complete."""
        if not self.done.done():
            self.done.set_exception(error(message))
