"""The one way in which an interceptor of ours gets around an rpc."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

__all__ = ["AroundInterceptor", "Context", "Handler", "RequestStream"]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


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


class AroundInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Runs a context manager around every rpc.

    The services of this gateway answer a stream by writing to the context, in a coroutine; what answers otherwise
    (reflection) is left as it is.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    @abstractmethod
    def around(
        self, method: str, request: Message | RequestStream | None, context: Context
    ) -> AbstractAsyncContextManager[None]:
        """Return what is entered before the rpc's own code and left after it.

        Args:
            method: The full name, for example ``/issuer.card.v1.CardService/CreateCard``.
            request: The request; None if its bytes are no such message; a `RequestStream` where there may be many.
            context: grpc's context of the call.
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
            async with self.around(method, RequestStream() if streams else request, context):
                return await behaviour(request, context)

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
