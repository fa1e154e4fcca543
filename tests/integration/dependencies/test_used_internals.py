"""What this project uses of its dependencies beyond what they promise, and what it expects of it.

A minor version may change such a part, so these dependencies have an upper bound. Raise it when these tests pass with
the new version; a failure names the file that has to follow.
"""

import asyncio
import inspect
import re
import socket
import ssl
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import grpc
import pytest
import uvloop
from aiohttp import web, web_protocol
from aiohttp.log import server_logger
from betterproto2.grpclib import ServiceStub
from multidict import CIMultiDict, CIMultiDictProxy
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from packaging.requirements import Requirement
from protovalidate import ViolationPb

from d1_gateway_client._aio import Calls
from gateway.aio.http_server import HttpConnection
from gateway.edge.server_connection import Connection

_ROOT = Path(__file__).parents[3]
_BOUNDED = ("aiohttp", "betterproto2", "grpcio", "nats-py", "protovalidate", "uvloop")
_CONNECTION = "gateway/edge/server_connection.py"
_HTTP_SERVER = "gateway/aio/http_server.py"
_NATS = "adapters/nats/connection/dial.py"
_PRIVATE_USERS = {_NATS}
"""Files of the product that read private attributes of a dependency."""


def _expect(distribution: str, file: str, expectation: str, *, holds: bool) -> None:
    assert holds, f"{distribution} {version(distribution)} breaks {file}, which expects that {expectation}"


def _parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("name", _BOUNDED)
def test_a_dependency_whose_internals_are_used_has_an_upper_bound(name: str) -> None:
    stated = []
    for folder in (_ROOT, _ROOT / "clients" / "python"):
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        listed = [
            *project["dependencies"],
            *(each for extra in project["optional-dependencies"].values() for each in extra),
        ]
        stated += [each.specifier for each in map(Requirement, listed) if each.name == name]
    assert stated
    for specifier in stated:
        assert any(each.operator == "<" for each in specifier), f"{name}{specifier}"
        assert specifier.contains(version(name)), f"{name}{specifier}"


def test_private_attributes_are_read_only_where_this_module_knows() -> None:
    sources = [path for room in ("gateway", "adapters") for path in (_ROOT / room).rglob("*.py")]
    users = {str(path.relative_to(_ROOT)) for path in sources if "noqa: SLF001" in path.read_text()}
    assert users == _PRIVATE_USERS


def test_aiohttps_connections_take_their_limits() -> None:
    passed = {"loop", "keepalive_timeout", "access_log", "max_line_size", "max_field_size", "max_headers"}
    missing = sorted((passed | {"lingering_time"}).difference(_parameters(web.RequestHandler.__init__)))
    _expect("aiohttp", _CONNECTION, f"web.RequestHandler takes {', '.join(missing)}", holds=not missing)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("handle_error", HttpConnection),
        ("log_exception", HttpConnection),
        ("data_received", HttpConnection),
        ("data_received", Connection),
        ("connection_lost", Connection),
    ],
)
def test_aiohttps_connections_call_what_is_overridden(name: str, ours: type[HttpConnection]) -> None:
    called, overridden = (_parameters(getattr(each, name)) for each in (web.RequestHandler, ours))
    file = _HTTP_SERVER if ours is HttpConnection else _CONNECTION
    _expect("aiohttp", file, f"web.RequestHandler.{name} takes ({', '.join(overridden)})", holds=called == overridden)


class _Plain(HttpConnection):
    errors: ClassVar[list[int]] = []

    def note_error(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        del request, error
        self.errors.append(status)


async def test_aiohttps_connections_queue_requests_and_what_is_wrong_with_them() -> None:
    taken: list[tuple[Any, ...]] = []

    class Recording(_Plain):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            taken.extend(self._messages)

    request = b"GET / HTTP/1.1\r\nHost: d1-gateway\r\n\r\n"
    async with _listening(web.Server(_created), Recording) as listening:
        await _sent(listening, request + request.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding:\r\n\r\n"))
    is_queued = [type(message).__name__ for message, _ in taken] == ["RawRequestMessage", "_ErrInfo"]
    _expect("aiohttp", _HTTP_SERVER, "_messages holds messages and their bodies, and can be changed", holds=is_queued)


def test_aiohttp_reads_ahead_as_many_requests_as_documented() -> None:
    promised = re.search(
        r"\| pipelined requests on one connection \| (\d+) \|", (_ROOT / "docs/exposure.md").read_text()
    )
    assert promised is not None
    limit = web_protocol.MAX_MSG_QUEUE_SIZE
    _expect("aiohttp", "docs/exposure.md", f"{promised[1]} requests are read ahead", holds=limit == int(promised[1]))


def test_aiohttps_log_of_malformed_requests_is_the_one_that_is_filtered() -> None:
    _expect(
        "aiohttp", "gateway/logging/setup.py", "it logs as aiohttp.server", holds=server_logger.name == "aiohttp.server"
    )


@asynccontextmanager
async def _listening(server: web.Server, made: type[_Plain] = _Plain) -> AsyncIterator[asyncio.Server]:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: made(server, loop=loop), "127.0.0.1", 0)
    try:
        yield listening
    finally:
        listening.close()
        await server.shutdown(1.0)


async def test_aiohttps_server_makes_its_requests_by_a_factory_that_can_be_replaced() -> None:
    made: list[tuple[Any, ...]] = []
    server = web.Server(_created)
    make: Any = server.request_factory

    def recorded(*arguments: Any) -> web.BaseRequest:
        made.append(arguments)
        request: web.BaseRequest = make(*arguments)
        return request

    server.request_factory = recorded
    async with _listening(server) as listening:
        answer = await _sent(listening, b"GET / HTTP/1.1\r\nHost: d1-gateway\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 201 ")
    _expect("aiohttp", _HTTP_SERVER, "web.Server.request_factory makes each request", holds=len(made) == 1)
    ((message, body, protocol, writer, _),) = made
    changed = CIMultiDictProxy(CIMultiDict(message.headers))
    is_kept = message._replace(headers=changed).headers == changed
    _expect("aiohttp", _HTTP_SERVER, "the headers of a message can be replaced", holds=is_kept)
    is_known = isinstance(body, aiohttp.StreamReader) and isinstance(protocol, _Plain)
    _expect("aiohttp", _HTTP_SERVER, "the factory gets the body and the connection", holds=is_known)
    is_counted = writer.output_size > 0
    writer.output_size = 0
    is_counted = is_counted and writer.output_size == 0
    _expect("aiohttp", _HTTP_SERVER, "a writer's output_size counts and can be set", holds=is_counted)


async def test_aiohttps_server_responds_to_a_malformed_request_with_what_handle_error_returns() -> None:
    _Plain.errors.clear()
    async with _listening(web.Server(_created)) as listening:
        answer = await _sent(listening, b"\x00\r\n\r\n")
    is_ours = _Plain.errors == [400] and b"malformed HTTP request" in answer
    _expect("aiohttp", _HTTP_SERVER, "handle_error makes the response to a malformed request", holds=is_ours)


async def _created(_: web.BaseRequest) -> web.Response:
    return web.Response(status=201)


async def _sent(listening: asyncio.Server, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_a_nats_client_has_what_is_read_of_it() -> None:
    client = Client()
    transport = TcpTransport()  # type: ignore[no-untyped-call] # nats-py has types in part
    _expect("nats-py", _NATS, "Client._subs holds the subscriptions", holds=getattr(client, "_subs", None) == {})
    stop = getattr(Subscription, "_stop_processing", None)
    _expect("nats-py", _NATS, "Subscription._stop_processing() ends the tasks of a subscription", holds=callable(stop))
    _expect("nats-py", _NATS, "Client._transport is the connection", holds=hasattr(client, "_transport"))
    _expect("nats-py", _NATS, "TcpTransport._io_writer is its stream", holds=hasattr(transport, "_io_writer"))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_event_loops_start_tls_by_the_contexts_own_method(run: Callable[..., None]) -> None:
    asked: list[str] = []

    class Context(ssl.SSLContext):
        def wrap_bio(self, *arguments: Any, **keywords: Any) -> ssl.SSLObject:
            asked.append("wrap_bio")
            return super().wrap_bio(*arguments, **keywords)

    async def connect(port: int) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, "127.0.0.1", port, ssl=Context(ssl.PROTOCOL_TLS_CLIENT), server_hostname="localhost"
            )

    with socket.create_server(("127.0.0.1", 0)) as listening:
        # The connection is in the backlog when it is closed, unanswered.
        listening.settimeout(5)
        port = listening.getsockname()[1]
        run(_refused(connect(port), listening))
    _expect("uvloop", "gateway/tls/certificates.py", "a loop calls SSLContext.wrap_bio", holds=asked == ["wrap_bio"])


async def _refused(connecting: Any, listening: socket.socket) -> None:
    attempt = asyncio.create_task(connecting)
    accepted, _ = await asyncio.to_thread(listening.accept)
    accepted.close()
    await attempt


@pytest.mark.parametrize("name", ["_unary_unary", "_unary_stream"])
def test_betterproto2s_stubs_call_what_the_client_overrides(name: str) -> None:
    called, overridden = (_parameters(getattr(each, name)) for each in (ServiceStub, Calls))
    file = "clients/python/src/d1_gateway_client/_aio.py"
    _expect("betterproto2", file, f"ServiceStub.{name} takes ({', '.join(overridden)})", holds=called == overridden)


def test_protovalidates_annotations_have_the_number_that_reflection_looks_for() -> None:
    numbers = {each.name: each.number for each in ViolationPb.desc().file.proto.extension}
    annotations = {numbers.get(name) for name in ("message", "oneof", "field")}
    _expect(
        "protovalidate", "gateway/grpc_api/reflection.py", "annotations are field 1159", holds=annotations == {1159}
    )


def test_grpcios_blocking_channels_say_whether_they_are_connected() -> None:
    file = "clients/python/src/d1_gateway_client/_blocking.py"
    channel: Any = grpc.insecure_channel("127.0.0.1:9")
    state = channel._channel.check_connectivity_state(try_to_connect=False)
    known = {each.value[0] for each in grpc.ChannelConnectivity}
    _expect("grpcio", file, "a channel has the number of its state", holds=state in known)
    _expect(
        "grpcio", file, "it is not ready before it connects", holds=state != grpc.ChannelConnectivity.READY.value[0]
    )
    channel.close()
    with pytest.raises(ValueError, match="closed"):
        channel._channel.check_connectivity_state(try_to_connect=True)


async def test_grpcio_knows_the_poller_that_is_chosen_before_it_is_imported() -> None:
    choice = "from gateway.grpc_api.poller import choose_poller; choose_poller(); import grpc"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", choice, stderr=asyncio.subprocess.PIPE, env={"PYTHONPATH": str(_ROOT)}
    )
    _, errors = await process.communicate()
    _expect("grpcio", "gateway/grpc_api/poller.py", f"it has this experiment: {errors.decode()}", holds=not errors)
