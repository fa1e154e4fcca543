"""The baselines on bare ``grpc.aio``: one responds at once, and one passes calls on.

Runs as a process of its own, ``python -m bench.unary.grpc_server KIND SURROUNDINGS``; see `bench.unary.child`. The kind
``echo`` shows the cost of gRPC by itself, the kind ``pass-through`` the cost of passing a call on with aiohttp, the
kind ``pass-through, own exchange`` with the gateway's HTTP exchange; see `bench.unary.passing`.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import uvloop
from google.protobuf.message import Message

from bench.unary.child import serve_counts
from bench.unary.passing import Context, Passing, Upstream
from bench.unary.surroundings import Surroundings, collect_rarely
from issuer.card.v1 import messages_pb2 as card
from issuer.threeds.v1 import messages_pb2 as threeds

__all__: list[str] = []

_ADDRESS: Final = "127.0.0.1:0"
_CARDS: Final = "issuer.card.v1.CardService"
_AUTHENTICATIONS: Final = "issuer.threeds.v1.AuthenticationService"


class _Echo:
    """Responds at once, and counts."""

    def __init__(self) -> None:
        self.count = 0

    async def register_card(self, request: card.RegisterCardRequest, context: Context) -> card.RegisterCardResponse:
        del request, context
        self.count += 1
        return card.RegisterCardResponse()

    async def suspend_card(self, request: card.SuspendCardRequest, context: Context) -> card.SuspendCardResponse:
        del request, context
        self.count += 1
        return card.SuspendCardResponse()


def _rpc(answer: Callable[[Any, Context], Awaitable[Message]], request: type[Message], reply: type[Message]) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.FromString, response_serializer=reply.SerializeToString
    )


def _add(server: grpc.aio.Server, service: str, rpcs: dict[str, Any]) -> None:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, rpcs),))


def _add_cards(server: grpc.aio.Server, cards: _Echo | Passing) -> None:
    register = _rpc(cards.register_card, card.RegisterCardRequest, card.RegisterCardResponse)
    suspend = _rpc(cards.suspend_card, card.SuspendCardRequest, card.SuspendCardResponse)
    _add(server, _CARDS, {"RegisterCard": register, "SuspendCard": suspend})


@asynccontextmanager
async def _serving(kind: str, server: grpc.aio.Server, surroundings: Surroundings) -> AsyncIterator[Callable[[], int]]:
    """Add the services of a kind. Yield the count of served requests; passed-on calls do not count."""
    if kind == "echo":
        echo = _Echo()
        _add_cards(server, echo)
        yield lambda: echo.count
        return
    async with Upstream.connect(surroundings, over_own_exchange=kind != "pass-through") as upstream:
        passing = Passing(upstream)
        _add_cards(server, passing)
        authenticate = _rpc(passing.authenticate, threeds.AuthenticateRequest, threeds.AuthenticateResponse)
        _add(server, _AUTHENTICATIONS, {"Authenticate": authenticate})
        yield lambda: 0


def _listen(server: grpc.aio.Server, surroundings: Surroundings) -> int:
    if not surroundings.has_tls:
        return server.add_insecure_port(_ADDRESS)
    pair = (Path(surroundings.key).read_bytes(), Path(surroundings.certificate).read_bytes())
    return server.add_secure_port(_ADDRESS, grpc.ssl_server_credentials([pair]))


async def _serve(kind: str, surroundings: Surroundings) -> None:
    server = grpc.aio.server()
    async with _serving(kind, server, surroundings) as count:
        port = _listen(server, surroundings)
        await server.start()
        collect_rarely()
        try:
            await serve_counts([port], count)
        finally:
            await server.stop(None)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], Surroundings.from_json(sys.argv[2])))
