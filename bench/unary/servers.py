"""The compared servers, each in its own process, all in front of the same upstream."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from grpclib.client import Channel, UnaryUnaryMethod

from bench.unary import node_packages
from bench.unary.calls import Call
from bench.unary.child import Child, child
from bench.unary.gateway import SUBJECT, GatewayOfTokens, Tokens
from bench.unary.surroundings import Surroundings
from sandbox.common.pki import Pki, make_pki
from sandbox.gateway import GatewayProcess
from sandbox.sandbox import ISSUER_ID

__all__ = ["AUDITING", "NAMES", "Server", "Stage", "staged"]

NAMES: Final = ("gateway", "pass-through", "pass-through, own exchange", "echo", "grpc-js", "fastapi")
"""All servers of card changes."""
AUDITING: Final = "gateway, audit trail"
"""The gateway with an audit trail that is keyed."""

_COMMANDS: Final = {
    "pass-through": (sys.executable, "-m", "bench.unary.grpc_server", "pass-through"),
    "pass-through, own exchange": (sys.executable, "-m", "bench.unary.grpc_server", "pass-through, own exchange"),
    "echo": (sys.executable, "-m", "bench.unary.grpc_server", "echo"),
    "grpc-js": ("node", node_packages.NODE / "server.mjs"),
    "fastapi": (sys.executable, "-m", "bench.unary.json_server"),
}
_HOST: Final = "127.0.0.1"
_TIMEOUT_SECONDS: Final = 10
_GRPC: Final = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": f"{_TIMEOUT_SECONDS}S"}
_JSON: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """A measured server."""

    name: str
    address: str
    """``host:port``."""
    pid: int
    counter: Child
    """The counter of processed requests: the upstream, or the server itself if it responds at once."""
    headers: Mapping[str, str]
    """Sent with each request of the load."""
    channel: Channel | None
    """A client's connection; None for a server without gRPC."""

    @property
    def speaks_grpc(self) -> bool:
        """Whether it speaks gRPC."""
        return self.channel is not None

    def path(self, call: Call) -> str:
        """Return the path of a call."""
        return call.rpc if self.speaks_grpc else f"/{call.name}"

    def body(self, call: Call) -> bytes:
        """Return the body of a call."""
        return call.frame if self.speaks_grpc else call.json_body

    async def call(self, call: Call) -> None:
        """Make a call as a client does. Without gRPC this is not needed: the HTTP status shows success or failure.

        Raises:
            grpclib.GRPCError: The call failed.
        """
        if self.channel is not None:
            method = UnaryUnaryMethod(self.channel, call.rpc, type(call.request), call.reply)
            metadata = {"authorization": self.headers["authorization"]}
            await method(call.request, timeout=_TIMEOUT_SECONDS, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers and their upstream."""

    servers: Sequence[Server]
    upstream: Child
    scheme: str
    """Of the servers' addresses."""
    server_ca: Path
    """The CA of the servers, and of the upstream."""

    @property
    def transport(self) -> str:
        """How the servers are reached, as a label."""
        return "TLS" if self.scheme == "https" else "plaintext"


@asynccontextmanager
async def staged(folder: Path, names: Sequence[str], *, has_tls: bool) -> AsyncIterator[Stage]:
    """Run servers for the duration of the block.

    Args:
        folder: Created here; for keys, settings and the gateway's event log.
        names: The servers, of `NAMES`, or `AUDITING`.
        has_tls: Whether they serve over TLS. The upstream always does.

    Raises:
        MissingToolError: Node is not installed.
        RuntimeError: A process did not start.
    """
    await asyncio.to_thread(folder.mkdir)
    pki = await asyncio.to_thread(make_pki, folder / "keys")
    tokens = Tokens.issue(folder)
    async with AsyncExitStack() as stack:
        keys = (pki.d1_server.certificate, pki.d1_server.key, pki.gateway_client_ca)
        upstream = await stack.enter_async_context(child(sys.executable, "-m", "bench.unary.upstream", *keys))
        start = _Start(folder, pki, tokens, upstream, has_tls=has_tls)
        started = await asyncio.gather(
            *(stack.enter_async_context(start.server(name)) for name in names), return_exceptions=True
        )
        if failed := [error for error in started if isinstance(error, BaseException)]:
            raise failed[0]
        servers = [server for server in started if isinstance(server, Server)]
        yield Stage(servers, upstream, "https" if has_tls else "http", pki.server_ca)


@dataclass(frozen=True, slots=True)
class _Start:
    """Starts servers."""

    folder: Path
    pki: Pki
    tokens: Tokens
    upstream: Child
    has_tls: bool

    @asynccontextmanager
    async def server(self, name: str) -> AsyncIterator[Server]:
        async with self._process(name) as (address, pid, counter):
            with self._channel(name, address) as channel:
                headers = (
                    _JSON if channel is None else {**_GRPC, "authorization": f"Bearer {self.tokens.bearers[SUBJECT]}"}
                )
                yield Server(name, address, pid, counter, headers, channel)

    @asynccontextmanager
    async def _process(self, name: str) -> AsyncIterator[tuple[str, int, Child]]:
        if name in {"gateway", AUDITING}:
            folder = self.folder / name
            await asyncio.to_thread(folder.mkdir)
            config = GatewayOfTokens.make(
                folder, self.pki, self.upstream.ports, self.tokens.jwks_file, has_tls=self.has_tls
            )
            if name == AUDITING:
                config = replace(config, more={"audit": _audit(folder)})
            async with await GatewayProcess.start(config, folder) as gateway:
                yield gateway.grpc, gateway.pid, self.upstream
            return
        if name == "grpc-js":
            await asyncio.to_thread(node_packages.install)
        async with child(*_COMMANDS[name], self._surroundings().to_json()) as started:
            yield f"{_HOST}:{started.ports[0]}", started.pid, started if name == "echo" else self.upstream

    @contextmanager
    def _channel(self, name: str, address: str) -> Iterator[Channel | None]:
        if name == "fastapi":
            yield None
            return
        host, _, port = address.rpartition(":")
        with closing(Channel(host, int(port), ssl=self._context() if self.has_tls else None)) as channel:
            yield channel

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki.server_ca))
        context.set_alpn_protocols(["h2"])
        return context

    def _surroundings(self) -> Surroundings:
        pki = self.pki
        return Surroundings(
            issuer_id=ISSUER_ID,
            upstream_port=self.upstream.ports[0],
            server_ca=str(pki.server_ca),
            client_certificate=str(pki.gateway_client.certificate),
            client_key=str(pki.gateway_client.key),
            has_tls=self.has_tls,
            certificate=str(pki.grpc_server.certificate),
            key=str(pki.grpc_server.key),
        )


def _audit(folder: Path) -> Mapping[str, str]:
    trail, key = folder / "audit", folder / "audit.key"
    trail.mkdir()
    key.touch(mode=0o600)
    key.write_text("5a" * 32)
    return {"folder": str(trail), "key_file": str(key), "ids": "keyed"}
