"""A handler of D1's callbacks, as an issuer's service would write one with the plain generated stubs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self, TypeAlias

import grpc

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import service_pb2_grpc

__all__ = ["Handler", "Responder"]

Responder: TypeAlias = Callable[[callback.CallbackRequest], Awaitable[callback.CallbackReply | None]]
"""Makes the reply to a callback request, without its token; None for no reply."""

_Stream: TypeAlias = "grpc.aio.StreamStreamCall[Any, Any]"


class Handler:
    """Replies to callback requests over one stream. Made by `connect`."""

    def __init__(self, stream: _Stream, responders: Mapping[str, Responder]) -> None:
        self.requests: list[callback.CallbackRequest] = []
        """The callback requests received, in order."""
        self.acknowledgements: list[callback.ReplyAcknowledgement] = []
        """The acknowledgements of its replies, in order."""
        self.is_draining = False
        """Whether the gateway has announced its shutdown."""
        self.is_over = False
        """Whether the stream has ended."""
        self.error: grpc.aio.AioRpcError | None = None
        """The stream's error, if any."""
        self._stream = stream
        self._responders = responders
        self._replies: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        # gRPC writes one message at a time.
        self._writing = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        channel: grpc.aio.Channel,
        responders: Mapping[str, Responder],
        *,
        name: str = "handler",
        max_in_flight: int = 0,
        acknowledgements: "callback.AcknowledgementMode.ValueType" = callback.ACKNOWLEDGEMENT_MODE_UNSPECIFIED,
    ) -> AsyncIterator[Self]:
        """Connect for the duration of the block.

        Args:
            channel: A channel to the gateway.
            responders: The callbacks by kind: ``consumer_information`` and so on.
            name: The name in the gateway's log.
            max_in_flight: The maximum number of concurrent callbacks; 0 for the gateway's default.
            acknowledgements: The acknowledgement mode of replies.

        Raises:
            grpc.aio.AioRpcError: The gateway rejects the handler.
        """
        stream: _Stream = service_pb2_grpc.CallbackServiceStub(channel).HandleCallbacks()
        kinds = [callback.CallbackKind.Value(f"CALLBACK_KIND_{kind.upper()}") for kind in responders]
        registration = callback.HandlerRegistration(
            name=name, callback_kinds=kinds, max_in_flight=max_in_flight, acknowledgement_mode=acknowledgements
        )
        handler = cls(stream, responders)
        try:
            await stream.write(callback.HandleCallbacksRequest(registration=registration))
            await stream.read()
            serving = asyncio.create_task(handler._serve())
            try:
                yield handler
            finally:
                serving.cancel()
                await asyncio.gather(serving, *handler._replies, return_exceptions=True)
        finally:
            stream.cancel()

    async def drain(self) -> None:
        """Accept no further callbacks."""
        await self._write(callback.HandleCallbacksRequest(draining=callback.HandlerDraining()))

    async def reply(self, reply: callback.CallbackReply) -> None:
        """Send a reply with its token."""
        await self._write(callback.HandleCallbacksRequest(callback_reply=reply))

    async def until(self, condition: Callable[[Self], bool]) -> None:
        """Wait for a condition."""
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()

    async def _write(self, message: callback.HandleCallbacksRequest) -> None:
        async with self._writing:
            await self._stream.write(message)

    async def _serve(self) -> None:
        try:
            while isinstance(message := await self._stream.read(), callback.HandleCallbacksResponse):
                self._take(message)
                self._changed.set()
        except grpc.aio.AioRpcError as error:
            self.error = error
        finally:
            self.is_over = True
            self._changed.set()
            for reply in self._replies:
                reply.cancel()

    def _take(self, message: callback.HandleCallbacksResponse) -> None:
        match message.WhichOneof("message"):
            case "callback_request":
                self.requests.append(message.callback_request)
                replying = asyncio.create_task(self._reply(message.callback_request))
                self._replies.add(replying)
                replying.add_done_callback(self._replies.discard)
            case "acknowledgement":
                self.acknowledgements.append(message.acknowledgement)
            case "draining":
                self.is_draining = True

    async def _reply(self, request: callback.CallbackRequest) -> None:
        reply = await self._responders[request.WhichOneof("request") or ""](request)
        if reply is not None:
            reply.token = request.token
            await self.reply(reply)
