"""Gateways for the client: options for a real one, and a stand-in that fails on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
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
        address=address, ca_file=pki.server_ca, certificate_file=caller.certificate, key_file=caller.key, **changes
    )


def _credentials(pki: Pki) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(pki.grpc_server.key.read_bytes(), pki.grpc_server.certificate.read_bytes())],
        root_certificates=pki.caller_ca.read_bytes(),
        require_client_auth=True,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the stand-in received."""

    request: bytes
    metadata: dict[str, str]
    seconds_left: float


class Scripted(grpc.GenericRpcHandler):
    """A stand-in: it returns the given responses in order, then empty ones."""

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.address = ""
        self.answers: list[GatewayError | Callable[[Any], Awaitable[bytes]]] = []
        self.calls: list[Call] = []

    def requests(self, kind: Any) -> list[Any]:
        """The requests received, parsed as messages of the client."""
        return [kind.parse(call.request) for call in self.calls]

    def service(self, handler_call_details: Any) -> Any:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:
        self.calls.append(Call(request, dict(context.invocation_metadata()), context.time_remaining()))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, GatewayError):
            await context.abort_with_status(rpc_status.to_status(answer.to_status(CORRELATION_ID)))
        return await answer(context) if callable(answer) else b""


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
    async with serving(pki, stand_in, port, grace_seconds=grace_seconds) as stand_in.address:
        yield stand_in
