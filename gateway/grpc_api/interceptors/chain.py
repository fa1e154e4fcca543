"""How interceptors get around an rpc: each serves it, and what it does not do itself is one call further in.

grpc has interceptors of its own and asks each anew for every call. This is one of those, and the only one: it puts the
chain together once for each method, and parses what an rpc shows of itself once for each call.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError, Message

__all__ = ["Chain", "Context", "Handler", "Interceptor", "Method", "Rpc"]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Behaviour: TypeAlias = Callable[[Any, Context], Coroutine[Any, Any, Any]]

_KINDS: Final[Mapping[tuple[bool, bool], str]] = MappingProxyType(
    {
        (False, False): "unary_unary",
        (False, True): "unary_stream",
        (True, False): "stream_unary",
        (True, True): "stream_stream",
    }
)


@dataclass(frozen=True, slots=True)
class Method:
    """What all rpcs of one name have in common."""

    path: str
    """As gRPC sends it: ``/issuer.card.v1.CardService/CreateCard``."""
    name: str
    """The full name: ``issuer.card.v1.CardService/CreateCard``."""
    has_request_stream: bool
    has_streams: bool
    """Whether there may be many requests, or many replies."""


class Rpc:
    """One rpc that is being served."""

    __slots__ = ("_behaviour", "_interceptors", "_metadata", "_place", "_requests", "context", "method", "request")

    def __init__(
        self, method: Method, requests: Any, context: Context, behaviour: _Behaviour, interceptors: "_Interceptors"
    ) -> None:
        self.method = method
        self.request: Message | None = None if method.has_request_stream else requests
        """None if its bytes are no such message; and where there may be many, which their service looks at."""
        self.context = context
        """grpc's."""
        self._requests = requests
        self._behaviour = behaviour
        self._interceptors = interceptors
        self._place = 0
        self._metadata: Sequence[tuple[str, str | bytes]] | None = None

    @property
    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What the caller sent along; grpc makes it anew each time that it is asked."""
        if self._metadata is None:
            self._metadata = tuple(self.context.invocation_metadata() or ())
        return self._metadata

    def proceed(self) -> Coroutine[Any, Any, Any]:
        """Have the next interceptor serve it, or the service; once. Returns the reply; None where it is a stream."""
        place = self._place
        self._place = place + 1
        if place < len(self._interceptors):
            return self._interceptors[place].serve(self)
        return self._behaviour(self._requests, self.context)


class Interceptor(ABC):
    """Serves every rpc, in the way that it chooses or as it would be served without it."""

    @abstractmethod
    async def serve(self, rpc: Rpc) -> Any:
        """Serve an rpc. Returns the reply; None where it is a stream."""

    def note_unknown(self) -> None:  # noqa: B027 (most have nothing to note)
        """Note that an rpc was called that there is not."""


_Interceptors: TypeAlias = tuple[Interceptor, ...]


class Chain(grpc.aio.ServerInterceptor):
    """Has interceptors around every rpc.

    The services of this gateway answer a stream by writing to the context, in a coroutine. What answers with a
    generator (reflection) is made to do so too: nothing is served past an interceptor.
    """

    def __init__(self, *interceptors: Interceptor) -> None:
        """Put a chain together.

        Args:
            interceptors: From the outside in.
        """
        self._interceptors = interceptors
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wrap the service's handler, once.

        Raises:
            TypeError: It is of a kind that cannot be wrapped.
        """
        path = handler_call_details.method
        if path in self._handlers:
            return self._handlers[path]
        handler = await continuation(handler_call_details)
        if handler is None:
            for interceptor in self._interceptors:
                interceptor.note_unknown()
            return None
        self._handlers[path] = wrapped = self._wrap(path, handler)
        return wrapped

    def _wrap(self, path: str, handler: Handler) -> Handler:
        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        behaviour, parse = _coroutine(getattr(handler, kind)), handler.request_deserializer
        if parse is None:
            raise TypeError("an rpc must be served by what takes parsed requests")
        has_streams = bool(handler.request_streaming or handler.response_streaming)
        method = Method(path, path[1:], bool(handler.request_streaming), has_streams)

        async def serve(requests: Any, context: Context) -> Any:
            return await Rpc(method, requests, context, behaviour, self._interceptors).proceed()

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: Handler = make(
            serve, request_deserializer=partial(_parsed, parse), response_serializer=handler.response_serializer
        )
        return wrapped


def _coroutine(behaviour: Any) -> _Behaviour:
    if inspect.iscoroutinefunction(behaviour):
        return cast("_Behaviour", behaviour)
    if not inspect.isasyncgenfunction(behaviour):
        raise TypeError("an rpc must be served by a coroutine or an asynchronous generator")

    async def written(requests: Any, context: Context) -> None:
        async with aclosing(behaviour(requests, context)) as answers:
            async for answer in answers:
                await context.write(answer)

    return written


def _parsed(parse: Callable[[bytes], Message | None], request: bytes) -> Message | None:
    # Left to itself, grpc answers what cannot be parsed with UNKNOWN, as if it might have taken effect.
    try:
        return parse(request)
    except DecodeError:
        return None
