"""Gateways for the client: options for a real one, and a stand-in that fails on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from d1_gateway_client import Options
from gateway.errors import GatewayError
from sandbox.common.pki import Identity, Pki

__all__ = ["CORRELATION_ID", "Call", "Scripted", "options_for", "scripted", "serving"]

CORRELATION_ID = "correlation-1"


def options_for(address: str, pki: Pki, caller: Identity | None = None, **changes: Any) -> Options:
    """Return the options of an internal service of the sandbox."""
    caller = caller or pki.caller
    return Options(
        address=address,
        ca_file=pki.server_ca,
        certificate_file=caller.certificate,
        key_file=caller.key,
        **changes,
    )


def _credentials(pki: Pki) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(pki.grpc_server.key.read_bytes(), pki.grpc_server.certificate.read_bytes())],
        root_certificates=pki.caller_ca.read_bytes(),
        require_client_auth=True,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """The calls that the stand-in received."""

    route: str
    request: bytes
    metadata: dict[str, str]
    seconds_left: float


@dataclass(slots=True)
class Scripted:
    """A stand-in: it returns the given responses in order, then empty ones."""

    pki: Pki
    address: str = ""
    answers: list[GatewayError | Callable[[Any], Awaitable[bytes]]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def requests(self, kind: Any) -> list[Any]:
        """The requests received, parsed as messages of the client."""
        return [kind.parse(call.request) for call in self.calls]

    async def answer(self, route: str, request: bytes, context: Any) -> bytes:
        metadata = dict(context.invocation_metadata())
        self.calls.append(Call(route, request, metadata, context.time_remaining()))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, GatewayError):
            await _abort(context, answer.to_status(CORRELATION_ID))
        return b"" if answer is None or isinstance(answer, GatewayError) else await answer(context)


async def _abort(context: Any, status: status_pb2.Status) -> None:
    await context.abort_with_status(rpc_status.to_status(status))


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, stand_in: Scripted) -> None:
        self._stand_in = stand_in

    def service(self, handler_call_details: Any) -> Any:
        route = handler_call_details.method

        async def answer(request: bytes, context: Any) -> bytes:
            return await self._stand_in.answer(route, request, context)

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def serving(
    pki: Pki, handlers: grpc.GenericRpcHandler, port: int = 0, *, grace_seconds: float = 0
) -> AsyncIterator[str]:
    """Serve rpcs for the duration of the block. Yields the address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handlers,))
    bound = server.add_secure_port(f"127.0.0.1:{port}", _credentials(pki))
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await asyncio.shield(server.stop(grace_seconds))


@asynccontextmanager
async def scripted(pki: Pki, port: int = 0, *, grace_seconds: float = 0) -> AsyncIterator[Scripted]:
    """Run a stand-in for the duration of the block."""
    stand_in = Scripted(pki)
    async with serving(pki, _Handlers(stand_in), port, grace_seconds=grace_seconds) as stand_in.address:
        yield stand_in
