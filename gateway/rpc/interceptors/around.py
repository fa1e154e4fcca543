"""How an interceptor of ours gets around an rpc: it serves it, and what it wraps is one call within."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

__all__ = ["Context", "Handler", "Proceed", "RequestStream", "ServingInterceptor"]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Proceed: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]
"""Has the next interceptor, or the service, serve the rpc. Returns the reply; None where it is a stream."""

_KINDS: Final[Mapping[tuple[bool, bool], str]] = MappingProxyType(
    {
        (False, False): "unary_unary",
        (False, True): "unary_stream",
        (True, False): "stream_unary",
        (True, True): "stream_stream",
    }
)


class RequestStream:
    """Stands for the requests of an rpc that takes a stream of them; its service looks at each as it comes."""


class ServingInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Serves every rpc, in the way that it chooses or as it would be served without it.

    It does so in a plain coroutine: context managers around each rpc, one for each interceptor, took a tenth of it. The
    services of this gateway answer a stream by writing to the context, in a coroutine; what answers otherwise
    (reflection) is left as it is.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    @abstractmethod
    async def serve(
        self, method: str, request: Message | RequestStream | None, context: Context, proceed: Proceed
    ) -> Any:
        """Serve an rpc.

        Args:
            method: The full name, for example ``/issuer.card.v1.CardService/CreateCard``.
            request: The request; None if its bytes are no such message; a `RequestStream` where there may be many.
            context: grpc's context of the call.
            proceed: Serves it as it would be served without this interceptor.

        Returns:
            The reply; None where it is a stream.
        """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wrap the handler that the next interceptor, or the service, has for the call."""
        method = handler_call_details.method
        if method in self._wrapped:
            return self._wrapped[method]
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        wrapped = self._wrap(method, handler)
        self._wrapped[method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, kind)
        parse = handler.request_deserializer
        if parse is None or not inspect.iscoroutinefunction(behaviour):
            return handler
        streams = handler.request_streaming

        async def wrapped(request: Any, context: Context) -> Any:
            shown = RequestStream() if streams else request
            return await self.serve(method, shown, context, partial(behaviour, request, context))

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped_handler: Handler = make(
            wrapped,
            request_deserializer=partial(_parsed, parse),
            response_serializer=handler.response_serializer,
        )
        return wrapped_handler


def _parsed(parse: Callable[[bytes], Message | None], request: bytes) -> Message | None:
    # Left to itself, grpc answers what cannot be parsed with UNKNOWN, as if it might have taken effect.
    try:
        return parse(request)
    except DecodeError:
        return None
