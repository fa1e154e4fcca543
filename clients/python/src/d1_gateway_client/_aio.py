"""Calls over asyncio: deadlines, retries, errors. The generated stubs use it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Protocol, TypeVar, cast

import betterproto2
import grpc
from betterproto2.grpclib import ServiceStub
from grpclib.metadata import Deadline

from d1_gateway_client import _channel, _wire
from d1_gateway_client._retries import Backoff, pause_seconds, request_id, with_request_id
from d1_gateway_client.errors import GatewayError
from d1_gateway_client.options import Options

__all__ = ["Calls", "Connection", "Stream", "failure"]

_Response = TypeVar("_Response", bound=betterproto2.Message)
_Metadata = Mapping[str, str | bytes] | Collection[tuple[str, str | bytes]]
_END = grpc.aio.EOF


class Stream(Protocol):
    """The part of a grpc.aio call that the client uses."""

    async def read(self) -> Any:
        """Return the next message."""

    async def write(self, request: betterproto2.Message) -> None:
        """Send a message."""

    async def done_writing(self) -> None:
        """Announce that no message follows."""

    def cancel(self) -> bool:
        """End the call."""


class Connection:
    """A channel to the gateway, with deadlines and retries for its calls."""

    def __init__(self, options: Options) -> None:
        self.max_attempts = options.max_attempts
        self._options = options
        self._channel = grpc.aio.secure_channel(
            options.address, _channel.credentials(options), options=_channel.settings(options)
        )

    def another(self) -> "Connection":
        """Open a second connection, for when this one may be dead."""
        return Connection(self._options)

    async def close(self) -> None:
        """Close the connection and end its calls."""
        await self._channel.close()

    async def unary(
        self,
        route: str,
        request: betterproto2.Message,
        response_type: type[_Response],
        *,
        timeout_seconds: float | None = None,
        metadata: _Metadata = (),
    ) -> _Response:
        """Make a call, and retry it where that is safe, until its deadline.

        Raises:
            GatewayError: The call failed.
        """
        options, backoff = self._options, Backoff()
        end = time.monotonic() + (options.deadline_seconds if timeout_seconds is None else timeout_seconds)
        request = with_request_id(request)
        for attempt in range(1, options.max_attempts + 1):
            try:
                return await self._attempt(route, request, response_type, end, metadata)
            except GatewayError as error:
                error.request_id = request_id(request)
                pause = pause_seconds(error, route, backoff)
                if pause is None or attempt == options.max_attempts or time.monotonic() + pause >= end:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def server_stream(
        self,
        route: str,
        request: betterproto2.Message,
        response_type: type[betterproto2.Message],
        *,
        timeout_seconds: float | None = None,
        metadata: _Metadata = (),
    ) -> Stream:
        """Open a stream of responses. `Stream.read` returns grpc.aio's EOF at its end."""
        method = self._channel.unary_stream(route, bytes, response_type.parse)
        call = method(request, timeout=timeout_seconds, metadata=await self._metadata(metadata))
        return cast("Stream", call)

    async def both_streams(self, route: str, response_type: type[betterproto2.Message]) -> Stream:
        """Open a stream of requests and responses."""
        method = self._channel.stream_stream(route, bytes, response_type.parse)
        return cast("Stream", method(metadata=await self._metadata(())))

    async def _attempt(
        self,
        route: str,
        request: betterproto2.Message,
        response_type: type[_Response],
        end: float,
        metadata: _Metadata,
    ) -> _Response:
        pairs = await self._metadata(metadata)
        await self._connected(end)
        method = self._channel.unary_unary(route, bytes, response_type.parse)
        try:
            return await method(request, timeout=end - time.monotonic(), metadata=pairs)
        except grpc.aio.AioRpcError as error:
            raise failure(error) from error

    async def _connected(self, end: float) -> None:
        """Wait for the connection. A call that gets none was certainly not sent."""
        try:
            async with asyncio.timeout(end - time.monotonic()):
                while (state := self._channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.SHUTDOWN:
                        raise _wire.not_sent("The client is closed.")
                    await self._channel.wait_for_state_change(state)
        except TimeoutError:
            raise _wire.not_sent(f"No connection to {self._options.address}.") from None

    async def _metadata(self, given: _Metadata) -> tuple[tuple[str, str | bytes], ...]:
        pairs = tuple(given.items() if isinstance(given, Mapping) else given)
        options = self._options
        if options.token is None and options.token_file is None:
            return pairs
        return (*pairs, *_channel.authorization(await asyncio.to_thread(options.bearer_token)))


class Calls(ServiceStub):
    """The base of the services: sends the calls of the generated stubs over a `Connection`."""

    def __init__(self, connection: Connection, timeout_seconds: float | None = None) -> None:
        self._connection = connection
        self._timeout_seconds = timeout_seconds

    async def _unary_unary(
        self,
        route: str,
        request: Any,
        response_type: Any,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (the generated stubs' parameter)
        deadline: Deadline | None = None,
        metadata: _Metadata | None = None,
    ) -> Any:
        return await self._connection.unary(
            route,
            request,
            response_type,
            timeout_seconds=_shorter(self._timeout_seconds if timeout is None else timeout, deadline),
            metadata=metadata or (),
        )

    async def _unary_stream(
        self,
        route: str,
        request: Any,
        response_type: Any,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (as above)
        deadline: Deadline | None = None,
        metadata: _Metadata | None = None,
    ) -> AsyncGenerator[Any, None]:
        stream = await self._connection.server_stream(
            route,
            request,
            response_type,
            timeout_seconds=_shorter(timeout, deadline),
            metadata=metadata or (),
        )
        try:
            while (response := await stream.read()) is not _END:
                yield response
        except grpc.aio.AioRpcError as error:
            raise failure(error) from error
        finally:
            stream.cancel()


def failure(error: grpc.aio.AioRpcError) -> GatewayError:
    """Return the `GatewayError` of a failed call."""
    trailing: Any = error.trailing_metadata() or ()
    return _wire.error_of(error.code(), error.details(), trailing)


def _shorter(timeout_seconds: float | None, deadline: Deadline | None) -> float | None:
    if deadline is None:
        return timeout_seconds
    left = deadline.time_remaining()
    return left if timeout_seconds is None else min(left, timeout_seconds)
