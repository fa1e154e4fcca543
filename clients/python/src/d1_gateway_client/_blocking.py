"""Blocking calls: deadline, retries, errors. The generated stubs ride on it."""

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import betterproto2
import grpc

from d1_gateway_client import _channel, _wire, errors
from d1_gateway_client._retries import Backoff, pause_seconds, request_id, with_request_id
from d1_gateway_client.errors import GatewayError
from d1_gateway_client.options import Options

__all__ = ["Connection", "failure", "opened"]

_Serializer = Callable[[Any], bytes]
_Parser = Callable[[bytes], Any]


class Connection:
    """A channel to the gateway, and how calls are made over it.

    It is what the generated stubs use of a `grpc.Channel`.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        options: Options,
        *,
        is_own: bool,
        timeout_seconds: float | None = None,
    ) -> None:
        self._channel = channel
        self._options = options
        self._is_own = is_own
        self._timeout_seconds = options.deadline_seconds if timeout_seconds is None else timeout_seconds

    def within(self, timeout_seconds: float) -> "Connection":
        """Share the connection, with another deadline for each call."""
        return Connection(self._channel, self._options, is_own=self._is_own, timeout_seconds=timeout_seconds)

    def as_channel(self) -> grpc.Channel:
        """Be what the generated stubs take."""
        # They call the two methods below, and nothing else.
        return cast("grpc.Channel", self)

    def another(self) -> "Connection":
        """Make another one, for when this one may be dead."""
        return opened(self._options)

    def close(self) -> None:
        """Close it, with all calls."""
        self._channel.close()

    def unary_unary(self, route: str, serializer: _Serializer, parser: _Parser) -> Callable[[Any], Any]:
        """Get what makes a call, again where that is safe, until its deadline; it raises `GatewayError`."""
        method = self._channel.unary_unary(route, serializer, parser)
        return lambda request: self._call(route, method, request)

    def unary_stream(self, route: str, serializer: _Serializer, parser: _Parser) -> Callable[[Any], Iterator[Any]]:
        """Get what opens a stream of responses; reading it raises `GatewayError`."""
        return lambda request: self._read(self.open(route, serializer, parser, request))

    def open(self, route: str, serializer: _Serializer, parser: _Parser, request: betterproto2.Message) -> Any:
        """Open a stream of responses, as gRPC has it."""
        return self._channel.unary_stream(route, serializer, parser)(request, metadata=self._metadata())

    def _read(self, stream: Any) -> Iterator[Any]:
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
        left, metadata = end - time.monotonic(), self._metadata()
        if not self._is_own:
            return _made(lambda: method(request, timeout=left, metadata=metadata))
        departure = _Departure(metadata)
        credentials = grpc.metadata_call_credentials(departure)
        try:
            return _made(lambda: method(request, timeout=left, credentials=credentials, wait_for_ready=True))
        except (errors.UnavailableError, errors.DeadlineExceededError) as error:
            if departure.was_ready:
                raise
            raise _wire.not_sent(f"There is no connection to {self._options.address}.") from error

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return _channel.authorization(self._options.bearer_token())


class _Departure(grpc.AuthMetadataPlugin):
    """Whether a call found a connection: gRPC asks for its credentials once it has one, before it sends anything."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.was_ready = False
        self._metadata = metadata

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        del context
        self.was_ready = True
        callback(self._metadata, None)


def opened(options: Options) -> Connection:
    """Open a channel to the gateway."""
    channel = grpc.secure_channel(options.address, _channel.credentials(options), options=_channel.settings(options))
    return Connection(channel, options, is_own=True)


def failure(error: grpc.RpcError) -> GatewayError:
    """Make the error of a failed call."""
    # Every error of a call is the call as well.
    call = cast("grpc.Call", error)
    trailing: Any = call.trailing_metadata() or ()
    return _wire.error_of(call.code(), call.details(), trailing)


def _made(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except grpc.RpcError as error:
        raise failure(error) from error
