"""One stream of callback requests and replies."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import betterproto2
import grpc

from d1_gateway_client import _aio
from d1_gateway_client._answers import Replies, failed
from d1_gateway_client.contracts.issuer.callback.v1 import (
    CallbackReply,
    CallbackRequest,
    HandleCallbacksRequest,
    HandleCallbacksResponse,
    HandlerDraining,
    HandlerRegistration,
    ReplyAcknowledgement,
    ReplyOutcome,
)
from d1_gateway_client.errors import GatewayError

__all__ = ["CallbackStream"]

_ROUTE = "/issuer.callback.v1.CallbackService/HandleCallbacks"
_DRAIN_PAUSE_SECONDS = 0.5

_log = logging.getLogger("d1_gateway_client")


class CallbackStream:
    """A `HandleCallbacks` stream, from the registration to its end."""

    def __init__(
        self,
        connection: _aio.Connection,
        registration: HandlerRegistration,
        replies: Replies,
        registered: asyncio.Event,
    ) -> None:
        """Create a stream; `run` opens it.

        Args:
            connection: The connection to the gateway.
            registration: The handler's registration.
            replies: Makes the replies.
            registered: Set when the gateway has registered the handler.
        """
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the handler needs another stream: this one has ended, or its gateway drains."""
        self.is_registered = False
        self.is_draining = False
        """Whether its gateway drains. D1 may still wait for replies there."""
        self._connection = connection
        self._registration = registration
        self._replies = replies
        self._registered = registered
        self._stream: _aio.Stream | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unacknowledged: dict[str, CallbackReply] = {}
        """Replies that the gateway has not acknowledged yet, by token."""
        self._idle = asyncio.Event()
        self._idle.set()
        # gRPC allows one write at a time.
        self._write_lock = asyncio.Lock()

    async def run(self) -> GatewayError | None:
        """Register, and reply to callback requests until the stream ends. Returns the error that ended it, if any."""
        try:
            self._stream = await self._connection.both_streams(_ROUTE, HandleCallbacksResponse)
            await self._write(HandleCallbacksRequest(registration=self._registration))
            while isinstance(message := await self._stream.read(), HandleCallbacksResponse):
                self._take(message)
        except grpc.aio.AioRpcError as error:
            return _aio.failure(error)
        else:
            return None
        finally:
            self.is_draining = False
            self._leave()
            self._idle.set()
            if self._stream is not None:
                self._stream.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Accept no further callback requests, reply to those received, then end the stream."""
        await self._write(HandleCallbacksRequest(draining=HandlerDraining()))
        # A callback request may already be in transit.
        await asyncio.sleep(_DRAIN_PAUSE_SECONDS)
        await self._idle.wait()
        if self._stream is not None:
            async with self._write_lock:
                await self._stream.done_writing()

    def _take(self, message: HandleCallbacksResponse) -> None:
        match betterproto2.which_one_of(message, "message"):
            case "registered", _:
                self.is_registered = True
                self._registered.set()
                _log.info("handler registered: %s", self._registration.name)
            case "callback_request", CallbackRequest() as request:
                self._idle.clear()
                self._start(self._reply(request))
            case "acknowledgement", ReplyAcknowledgement() as acknowledgement:
                self._acknowledge(acknowledgement)
            case "draining", _:
                self.is_draining = True
                self._leave()

    def _leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _reply(self, request: CallbackRequest) -> None:
        reply = await self._replies.reply(request)
        if reply is not None:
            self._unacknowledged[reply.token] = reply
            await self._write(HandleCallbacksRequest(callback_reply=reply))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._set_if_idle()

    def _acknowledge(self, acknowledgement: ReplyAcknowledgement) -> None:
        reply = self._unacknowledged.pop(acknowledgement.token, None)
        if acknowledgement.outcome is not ReplyOutcome.ACCEPTED:
            violations = "".join(f"; {each.field}: {each.description}" for each in acknowledgement.violations)
            _log.warning("reply not accepted: %s%s", acknowledgement.outcome.name, violations)
        if acknowledgement.outcome is ReplyOutcome.INVALID and reply is not None and reply.refusal is None:
            # The callback request is still open: D1 gets the failure now instead of at the deadline.
            self._unacknowledged[acknowledgement.token] = failed(acknowledgement.token)
            self._start(self._write(HandleCallbacksRequest(callback_reply=failed(acknowledgement.token))))
        self._set_if_idle()

    def _set_if_idle(self) -> None:
        if not self._tasks and not self._unacknowledged:
            self._idle.set()

    async def _write(self, message: HandleCallbacksRequest) -> None:
        if self._stream is None:
            return
        try:
            async with self._write_lock:
                await self._stream.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # `run` reports how the stream ended. The gateway sends the request again over another one.
            _log.info("reply not sent: the stream has ended")
