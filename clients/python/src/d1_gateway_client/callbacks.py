"""Handles D1's callbacks with plain async functions."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import betterproto2

from d1_gateway_client._answers import CallbackContext, Function, Refuse, Replies
from d1_gateway_client._callback_stream import CallbackStream
from d1_gateway_client._retries import Backoff, is_transient
from d1_gateway_client.client import AsyncGatewayClient
from d1_gateway_client.contracts.issuer.callback.v1 import (
    AuthenticateConsumerRequest,
    AuthenticateConsumerResponse,
    AuthenticationResultRequest,
    AuthenticationResultResponse,
    CallbackKind,
    CallbackRefusalReason,
    CardCredentialsRequest,
    CardCredentialsResponse,
    ConsumerInformationRequest,
    ConsumerInformationResponse,
    DeliverOtpRequest,
    DeliverOtpResponse,
    HandlerRegistration,
)
from d1_gateway_client.errors import GatewayError

__all__ = ["CallbackContext", "CallbackHandler", "CallbackRefusalReason", "Refuse"]

_log = logging.getLogger("d1_gateway_client")

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Typed = Callable[[_Request, CallbackContext], Awaitable[_Response]]

_RESPONSES: Mapping[str, type[betterproto2.Message]] = {
    "consumer_information": ConsumerInformationResponse,
    "deliver_otp": DeliverOtpResponse,
    "authenticate": AuthenticateConsumerResponse,
    "authentication_result": AuthenticationResultResponse,
    "card_credentials": CardCredentialsResponse,
}


class CallbackHandler:
    """Handles the kinds of callbacks for which it has functions.

    A function takes the request and a `CallbackContext`, and returns the response. It raises `Refuse` to refuse. On any
    other exception D1 learns that the callback failed, but nothing of the exception's text.
    """

    def __init__(
        self, name: str, *, issuer_ids: Iterable[str] = (), max_in_flight: int = 16, drain_seconds: float = 30.0
    ) -> None:
        """Create a handler without functions.

        Args:
            name: Name in the gateway's logs: 1 to 64 of ``A-Za-z0-9_.-``.
            issuer_ids: The issuers to handle callbacks for; none if the gateway has only one.
            max_in_flight: Maximum callback requests in work at once, 1 to 1000.
            drain_seconds: Time to finish callback requests after `drain`.
        """
        self._name = name
        self._issuer_ids = list(issuer_ids)
        self._max_in_flight = max_in_flight
        self._drain_seconds = drain_seconds
        self._functions: dict[str, Function] = {}
        self._stopping: asyncio.Event | None = None

    def consumer_information(
        self, function: _Typed[ConsumerInformationRequest, ConsumerInformationResponse]
    ) -> _Typed[ConsumerInformationRequest, ConsumerInformationResponse]:
        """Decorate the function that returns a consumer's information."""
        self._functions["consumer_information"] = function
        return function

    def deliver_otp(
        self, function: _Typed[DeliverOtpRequest, DeliverOtpResponse]
    ) -> _Typed[DeliverOtpRequest, DeliverOtpResponse]:
        """Decorate the function that delivers one-time passwords."""
        self._functions["deliver_otp"] = function
        return function

    def authenticate(
        self, function: _Typed[AuthenticateConsumerRequest, AuthenticateConsumerResponse]
    ) -> _Typed[AuthenticateConsumerRequest, AuthenticateConsumerResponse]:
        """Decorate the function that starts authentications in the issuer's app."""
        self._functions["authenticate"] = function
        return function

    def authentication_result(
        self, function: _Typed[AuthenticationResultRequest, AuthenticationResultResponse]
    ) -> _Typed[AuthenticationResultRequest, AuthenticationResultResponse]:
        """Decorate the function that returns the results of such authentications."""
        self._functions["authentication_result"] = function
        return function

    def card_credentials(
        self, function: _Typed[CardCredentialsRequest, CardCredentialsResponse]
    ) -> _Typed[CardCredentialsRequest, CardCredentialsResponse]:
        """Decorate the function that returns a card's credentials."""
        self._functions["card_credentials"] = function
        return function

    async def run(self, client: AsyncGatewayClient) -> None:
        """Run `serve` until SIGTERM or SIGINT. For a service's main task.

        Raises:
            GatewayError: As `serve`.
        """
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.drain)
        try:
            await self.serve(client)
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def drain(self) -> None:
        """Accept no further callback requests; `serve` returns when those received have replies.

        Without a running `serve` it does nothing.
        """
        if self._stopping is not None:
            self._stopping.set()

    async def serve(self, client: AsyncGatewayClient) -> None:
        """Handle callbacks until `drain`, across broken connections, restarts and deployments of the gateway.

        Raises:
            GatewayError: Reconnecting does not help, for example because the policy does not grant the rpc.
            ValueError: The handler has no function.
            RuntimeError: The handler is serving already.
        """
        await self._serve(client, asyncio.Event())

    @asynccontextmanager
    async def serving(self, client: AsyncGatewayClient) -> AsyncIterator[None]:
        """Handle callbacks during the block, which is entered when the gateway has registered the handler.

        Raises:
            GatewayError: As `serve`, at the start of the block or at its end.
        """
        registered = asyncio.Event()
        task = asyncio.create_task(self._serve(client, registered))
        waiting = asyncio.create_task(registered.wait())
        either: set[asyncio.Future[Any]] = {task, waiting}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            waiting.cancel()
        try:
            if not task.done():
                yield
        finally:
            self.drain()
            await task

    async def _serve(self, client: AsyncGatewayClient, registered: asyncio.Event) -> None:
        if not self._functions:
            raise ValueError("The handler has no function: decorate one, for example with @handler.deliver_otp")
        if self._stopping is not None:
            raise RuntimeError("The handler is serving already")
        replies = Replies(self._functions, _RESPONSES, self._max_in_flight)
        self._stopping = asyncio.Event()
        stopping = asyncio.create_task(self._stopping.wait())
        running: dict[CallbackStream, asyncio.Task[GatewayError | None]] = {}
        try:
            await self._keep_connected(
                lambda: CallbackStream(client._connection, self._registration(), replies, registered), stopping, running
            )
            await self._finish(running)
        finally:
            self._stopping = None
            tasks = [stopping, *running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await replies.aclose()

    async def _keep_connected(
        self,
        new_stream: Callable[[], CallbackStream],
        stopping: asyncio.Task[bool],
        running: dict[CallbackStream, asyncio.Task[GatewayError | None]],
    ) -> None:
        """Keep one stream to a gateway that does not drain, beside those that are ending."""
        backoff = Backoff()
        while not stopping.done():
            stream = new_stream()
            running[stream] = asyncio.create_task(stream.run())
            either: set[asyncio.Future[Any]] = {stopping, stream.left}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                break
            error = None if stream.is_draining else await running[stream]
            if error is not None and not is_transient(error):
                raise error
            for each in [each for each, task in running.items() if task.done()]:
                del running[each]
            if stream.is_registered:
                backoff.reset()
            pause = backoff.seconds(None if error is None else error.retry_after_seconds)
            why = error or ("its gateway drains" if stream.is_draining else "the stream ended")
            _log.warning("handler %s: reconnecting in %.1f s: %s", self._name, pause, why)
            await asyncio.wait({stopping}, timeout=pause)

    async def _finish(self, running: Mapping[CallbackStream, asyncio.Task[GatewayError | None]]) -> None:
        """Finish the callback requests received, within `drain_seconds`."""
        _log.info("handler %s: draining", self._name)
        for stream, task in running.items():
            if not stream.is_registered:
                task.cancel()
        draining = [asyncio.create_task(stream.drain()) for stream in running]
        ending = asyncio.gather(*draining, *running.values(), return_exceptions=True)
        try:
            async with asyncio.timeout(self._drain_seconds):
                await ending
        except TimeoutError:
            _log.warning("handler %s: drain timed out with callback requests open", self._name)

    def _registration(self) -> HandlerRegistration:
        return HandlerRegistration(
            name=self._name,
            issuer_ids=self._issuer_ids,
            callback_kinds=[CallbackKind[kind.upper()] for kind in self._functions],
            max_in_flight=self._max_in_flight,
        )
