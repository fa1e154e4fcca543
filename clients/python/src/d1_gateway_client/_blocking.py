"""Blocking calls: deadlines, retries, errors. The generated stubs use it."""

import time
from collections.abc import Callable, Generator
from typing import Any, cast

import betterproto2
import grpc

from d1_gateway_client import _channel, _wire
from d1_gateway_client._retries import Backoff, pause_seconds, request_id, with_request_id
from d1_gateway_client.errors import GatewayError
from d1_gateway_client.options import Options

__all__ = ["Connection", "failure", "opened"]

_READY = grpc.ChannelConnectivity.READY.value[0]
_FIRST_POLL_SECONDS, _MAX_POLL_SECONDS = 0.001, 0.05

_Serializer = Callable[[Any], bytes]
_Parser = Callable[[bytes], Any]


class Connection:
    """A channel to the gateway, with deadlines and retries for its calls.

    It has the methods of `grpc.Channel` that the generated stubs use.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        options: Options,
        *,
        is_own: bool,
        timeout_seconds: float | None = None,
    ) -> None:
        self.max_attempts = options.max_attempts
        self._channel = channel
        self._options = options
        self._is_own = is_own
        self._timeout_seconds = options.deadline_seconds if timeout_seconds is None else timeout_seconds

    def within(self, timeout_seconds: float) -> "Connection":
        """Return a connection over the same channel with another deadline for each call."""
        return Connection(self._channel, self._options, is_own=self._is_own, timeout_seconds=timeout_seconds)

    def as_channel(self) -> grpc.Channel:
        """Return the connection in the type that the generated stubs take."""
        # They call only `unary_unary` and `unary_stream`.
        return cast("grpc.Channel", self)

    def another(self) -> "Connection":
        """Open a second connection, for when this one may be dead."""
        return opened(self._options)

    def close(self) -> None:
        """Close the connection and end its calls."""
        self._channel.close()

    def unary_unary(self, route: str, serializer: _Serializer, parser: _Parser) -> Callable[[Any], Any]:
        """Return a function that makes a call, with retries where that is safe; it raises `GatewayError`."""
        method = self._channel.unary_unary(route, serializer, parser)
        return lambda request: self._call(route, method, request)

    def unary_stream(
        self, route: str, serializer: _Serializer, parser: _Parser
    ) -> Callable[[Any], Generator[Any, None, None]]:
        """Return a function that opens a stream of responses; reading the stream raises `GatewayError`."""
        return lambda request: self._read(self.open(route, serializer, parser, request))

    def open(self, route: str, serializer: _Serializer, parser: _Parser, request: betterproto2.Message) -> Any:
        """Open a stream of responses that raises gRPC's own errors."""
        return self._channel.unary_stream(route, serializer, parser)(request, metadata=self._metadata())

    def _read(self, stream: Any) -> Generator[Any, None, None]:
        try:
            yield from stream
        except grpc.RpcError as error:
            raise failure(error) from error
        finally:
            stream.cancel()

    def _call(self, route: str, method: Any, request: Any) -> Any:
        options, backoff = self._options, Backoff()
        end = time.monotonic() + self._timeout_seconds
        request = with_request_id(request)
        for attempt in range(1, options.max_attempts + 1):
            try:
                return self._attempt(method, request, end)
            except GatewayError as error:
                error.request_id = request_id(request)
                pause = pause_seconds(error, route, backoff)
                if pause is None or attempt == options.max_attempts or time.monotonic() + pause >= end:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(self, method: Any, request: Any, end: float) -> Any:
        metadata = self._metadata()
        if self._is_own:
            self._wait_connected(end)
        return _translated(lambda: method(request, timeout=end - time.monotonic(), metadata=metadata))

    def _wait_connected(self, end: float) -> None:
        """Wait for the connection. A call that gets none was certainly not sent."""
        # grpcio has no public way to ask that of a blocking channel. Call credentials would tell, but their end in a
        # thread of gRPC's can freeze the process while the channel is closed: https://github.com/grpc/grpc/pull/42247
        channel: Any = self._channel
        pause = _FIRST_POLL_SECONDS
        try:
            while channel._channel.check_connectivity_state(try_to_connect=True) != _READY:
                left = end - time.monotonic()
                if left <= 0:
                    raise _wire.not_sent(f"No connection to {self._options.address}.")
                time.sleep(min(pause, left))
                pause = min(2 * pause, _MAX_POLL_SECONDS)
        except ValueError:
            raise _wire.not_sent("The client is closed.") from None

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return _channel.authorization(self._options.bearer_token())


def opened(options: Options) -> Connection:
    """Open a channel to the gateway."""
    channel = grpc.secure_channel(options.address, _channel.credentials(options), options=_channel.settings(options))
    return Connection(channel, options, is_own=True)


def failure(error: grpc.RpcError) -> GatewayError:
    """Return the `GatewayError` of a failed call."""
    # gRPC's errors are the calls as well.
    call = cast("grpc.Call", error)
    trailing: Any = call.trailing_metadata() or ()
    return _wire.error_of(call.code(), call.details(), trailing)


def _translated(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except grpc.RpcError as error:
        raise failure(error) from error
