"""One stream over which questions come and replies go."""

import asyncio
import logging

import betterproto2
import grpc

from d1_gateway_client import _aio
from d1_gateway_client._answers import Answers, failed
from d1_gateway_client.contracts.issuer.callback.v1 import (
    Drain,
    HandleCallbacksRequest,
    HandleCallbacksResponse,
    Question,
    Registration,
    Reply,
    ReplyOutcome,
    ReplyReceipt,
)
from d1_gateway_client.errors import GatewayError

__all__ = ["CallbackStream"]

_ROUTE = "/issuer.callback.v1.CallbackService/HandleCallbacks"
_SETTLING_SECONDS = 0.5

_log = logging.getLogger("d1_gateway_client")


class CallbackStream:
    """A stream, from the registration to its end."""

    def __init__(
        self, connection: _aio.Connection, registration: Registration, answers: Answers, registered: asyncio.Event
    ) -> None:
        """Prepare.

        Args:
            connection: Leads to the gateway.
            registration: What to tell of the handler.
            answers: Makes the replies.
            registered: Set when the gateway has taken the handler.
        """
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when another stream is needed: this one has ended, or its gateway shuts down."""
        self.is_registered = False
        self.is_draining = False
        """Whether its gateway shuts down, while D1 may still wait for replies there."""
        self._connection = connection
        self._registration = registration
        self._answers = answers
        self._registered = registered
        self._stream: _aio.Stream | None = None
        self._replies: set[asyncio.Task[None]] = set()
        self._awaited: dict[str, Reply] = {}
        """Replies whose receipts have not come yet, by token."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        # gRPC writes one message at a time.
        self._writing = asyncio.Lock()

    async def run(self) -> GatewayError | None:
        """Register, then answer questions until the stream ends; tells how it failed, if it did."""
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
            self._quiet.set()
            if self._stream is not None:
                self._stream.cancel()
            for reply in self._replies:
                reply.cancel()
            await asyncio.gather(*self._replies, return_exceptions=True)

    async def drain(self) -> None:
        """Take no further questions, reply to those that came, then end the stream."""
        await self._write(HandleCallbacksRequest(drain=Drain()))
        # A question may be on its way already.
        await asyncio.sleep(_SETTLING_SECONDS)
        await self._quiet.wait()
        if self._stream is not None:
            async with self._writing:
                await self._stream.done_writing()

    def _take(self, message: HandleCallbacksResponse) -> None:
        match betterproto2.which_one_of(message, "message"):
            case "registered", _:
                self.is_registered = True
                self._registered.set()
                _log.info("handler registered: %s", self._registration.name)
            case "question", Question() as question:
                replying = asyncio.create_task(self._reply(question))
                self._replies.add(replying)
                self._quiet.clear()
                replying.add_done_callback(self._replied)
            case "receipt", ReplyReceipt() as receipt:
                self._note(receipt)
            case "draining", _:
                self.is_draining = True
                self._leave()

    def _leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)

    async def _reply(self, question: Question) -> None:
        reply = await self._answers.reply(question)
        if reply is not None:
            self._awaited[reply.token] = reply
            await self._write(HandleCallbacksRequest(reply=reply))

    def _replied(self, replying: asyncio.Task[None]) -> None:
        self._replies.discard(replying)
        self._settle()

    def _note(self, receipt: ReplyReceipt) -> None:
        reply = self._awaited.pop(receipt.token, None)
        if receipt.outcome is not ReplyOutcome.ACCEPTED:
            wrong = "".join(f"; {each.field}: {each.description}" for each in receipt.violations)
            _log.warning("reply not taken: %s%s", receipt.outcome.name, wrong)
        if receipt.outcome is ReplyOutcome.INVALID and reply is not None and reply.refusal is None:
            # The question is still open: better that D1 is told now than that it waits for the deadline.
            self._awaited[receipt.token] = failed(receipt.token)
            replying = asyncio.create_task(self._write(HandleCallbacksRequest(reply=failed(receipt.token))))
            self._replies.add(replying)
            replying.add_done_callback(self._replied)
        self._settle()

    def _settle(self) -> None:
        if not self._replies and not self._awaited:
            self._quiet.set()

    async def _write(self, message: HandleCallbacksRequest) -> None:
        if self._stream is None:
            return
        try:
            async with self._writing:
                await self._stream.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream is over: whoever reads it is told how. The gateway asks again over another one.
            _log.info("reply not sent: the stream is over")
