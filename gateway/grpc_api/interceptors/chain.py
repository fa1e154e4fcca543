"""The interceptor chain: each interceptor serves an rpc by calling the next one.

grpc runs its own interceptors anew for every call. The chain is no interceptor of grpc: it wraps each method once, and
reads the metadata of each call once.

grpc receives the request of an rpc without a request stream before it runs the handler, from any caller and however
long that takes. So every rpc is served as one with a request stream, which makes no difference on the wire, and
`Rpc.receive` receives the request once its caller is known.
"""

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.validation.validator import unreadable

__all__ = ["Chain", "Context", "Handler", "Interceptor", "Method", "Rpc", "ended_by_grpc"]

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

_CANCELLED_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """The properties of an rpc method, the same object for all its calls."""

    path: str
    """The path on the wire: ``/issuer.card.v1.CardService/CreateCard``."""
    name: str
    """The full name: ``issuer.card.v1.CardService/CreateCard``."""
    has_request_stream: bool
    has_streams: bool
    """Whether requests or replies are a stream."""


class Rpc:
    """An rpc in progress."""

    __slots__ = ("_behaviour", "_interceptors", "_metadata", "_position", "_requests", "context", "method", "request")

    def __init__(
        self, method: Method, requests: Any, context: Context, behaviour: _Behaviour, interceptors: "_Interceptors"
    ) -> None:
        self.method = method
        self.request: Message | None = None
        """None until it is received, and for a request stream, which the servicer reads."""
        self.context = context
        self._requests = requests
        self._behaviour = behaviour
        self._interceptors = interceptors
        self._position = 0
        self._metadata: Sequence[tuple[str, str | bytes]] | None = None

    @property
    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """The caller's metadata, cached because grpc builds it anew on each access."""
        if self._metadata is None:
            self._metadata = tuple(self.context.invocation_metadata() or ())
        return self._metadata

    async def receive(self) -> bool:
        """Receive the request of an rpc without a request stream; call this once. Returns whether there is one.

        Raises:
            GatewayError: INVALID_REQUEST: the bytes do not parse.
        """
        request = await self.context.read()
        if request is grpc.aio.EOF:
            return False
        self.request = self._requests = request
        return True

    def proceed(self) -> Coroutine[Any, Any, Any]:
        """Call the next interceptor or the servicer; call this once. Returns the reply, or None for a stream."""
        position = self._position
        self._position = position + 1
        if position < len(self._interceptors):
            return self._interceptors[position].serve(self)
        return self._behaviour(self._requests, self.context)


class Interceptor(ABC):
    """Wraps every rpc."""

    @abstractmethod
    async def serve(self, rpc: Rpc) -> Any:
        """Serve an rpc. Returns the reply, or None for a stream."""


_Interceptors: TypeAlias = tuple[Interceptor, ...]


class Chain(grpc.GenericRpcHandler):
    """Serves rpcs, with interceptors around each. Servicers are coroutines that write stream replies to the context.

    It is grpc's only handler, and stands in for the server where services register their methods. Of methods that grpc
    itself knows, it awaits the next call of each, anew after every call: thirty of them cost 3 % of a call's time.
    """

    def __init__(self, *interceptors: Interceptor, unknown: _Interceptors = ()) -> None:
        """Build a chain.

        Args:
            interceptors: The interceptors of every rpc, from the outside in.
            unknown: Those of every call to an rpc that is not served; the innermost must not proceed. Without any,
                grpc ends such a call.
        """
        self._interceptors = interceptors
        self._unknown = unknown
        self._handlers: dict[str, Handler] = {}

    def add(self, servicer: object, add_to_server: Callable[[Any, Any], None]) -> None:
        """Add the servicer of a service.

        Args:
            servicer: The servicer.
            add_to_server: The generated function that adds it to a server, ``add_CardServiceServicer_to_server``.

        Raises:
            TypeError: A handler is of a kind that cannot be wrapped.
        """
        add_to_server(servicer, self)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code registers its methods as well."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Wrap the methods of a service.

        Raises:
            TypeError: A handler is of a kind that cannot be wrapped.
        """
        for name, handler in method_handlers.items():
            path = f"/{service_name}/{name}"
            self._handlers[path] = self._wrap(path, handler)

    def of(self, service_name: str) -> dict[str, Handler]:
        """Return the wrapped methods of a service, by name."""
        head = f"/{service_name}/"
        return {path.removeprefix(head): each for path, each in self._handlers.items() if path.startswith(head)}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """Return the handler of a call."""
        path = handler_call_details.method
        handler = self._handlers.get(path)
        return self._reject(path) if handler is None and self._unknown else handler

    def _reject(self, path: str) -> Handler:
        method = Method(path, path[1:], has_request_stream=True, has_streams=True)

        # Nothing of the request is read, so it does not matter whether its caller sends a stream.
        async def serve(requests: Any, context: Context) -> Any:
            return await Rpc(method, requests, context, _unserved, self._unknown).proceed()

        return grpc.stream_stream_rpc_method_handler(serve)

    def _wrap(self, path: str, handler: Handler) -> Handler:
        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        behaviour, parse = getattr(handler, kind), handler.request_deserializer
        if not inspect.iscoroutinefunction(behaviour):
            raise TypeError("an rpc handler must be a coroutine function")
        if parse is None:
            raise TypeError("an rpc handler must take parsed requests")
        has_streams = bool(handler.request_streaming or handler.response_streaming)
        method = Method(path, path[1:], bool(handler.request_streaming), has_streams)

        async def serve(requests: Any, context: Context) -> Any:
            return await Rpc(method, requests, context, behaviour, self._interceptors).proceed()

        make = getattr(grpc, f"{_KINDS[True, handler.response_streaming]}_rpc_method_handler")
        wrapped: Handler = make(
            serve, request_deserializer=partial(_parse, parse), response_serializer=handler.response_serializer
        )
        return wrapped


async def ended_by_grpc() -> None:
    """Wait, so that a call that grpc has refused by itself is cancelled. One that the gateway refuses continues.

    grpc cancels the task of such a call a little later than it shows the reason: metadata or a request of too many
    bytes. To end the call once more would fail.
    """
    await asyncio.sleep(_CANCELLED_SECONDS)


async def _unserved(requests: Any, context: Context) -> NoReturn:
    raise NotImplementedError("the innermost interceptor of an unknown rpc must not proceed")


def _parse(parse: Callable[[bytes], Message], request: bytes) -> Message:
    # By itself, grpc ends an unparsable request with UNKNOWN, as if it might have taken effect. This is raised where
    # the request is awaited, so inside the chain.
    try:
        return parse(request)
    except DecodeError:
        raise unreadable() from None
