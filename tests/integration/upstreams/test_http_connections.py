"""How connections are made, kept and given up."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.http import pool as pools
from adapters.http.connection import Connection, ExchangeError, Fate, encode_request
from adapters.http.pool import ConnectionPool
from gateway.settings import ThreeDSSettings
from gateway.tls.contexts import threeds_context
from sandbox.common.pki import Pki, make_pki
from sandbox.common.tls import client_context, server_context
from tests.conformance.lease_engines import until
from tests.integration.upstreams.raw_server import exchange, pool_at, raw_server, sends

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


async def keeping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request, on a connection that stays open."""
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK)


async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request after a moment."""
    while await reader.readuntil(b"\r\n\r\n"):
        await asyncio.sleep(0.001)
        writer.write(OK)


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Read on and on."""
    await reader.read()


async def greeting(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak first, and in plain text."""
    writer.write(b"220 mail.example ESMTP\r\n")


async def test_a_thousand_requests_of_four_at_a_time_need_four_connections() -> None:
    slots = asyncio.Semaphore(4)

    async def one(pool: ConnectionPool) -> int:
        async with slots:
            return (await exchange(pool)).status

    async with raw_server(late) as server, pool_at(server.url) as pool:
        statuses = await asyncio.gather(*(one(pool) for _ in range(1_000)))

    assert set(statuses) == {200}
    assert len(server.tls) == server.most_open == 4


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    async with raw_server(late) as server, pool_at(server.url) as pool:
        await asyncio.gather(*(exchange(pool) for _ in range(3)))
        latest = pool._idle[-1]
        for _ in range(5):
            await exchange(pool)

        assert pool._idle[-1] is latest
        assert len(server.tls) == 3


@pytest.mark.parametrize("answer", [OK, LAST], ids=["without a word", "announced"])
async def test_a_server_that_closes_after_each_response_fails_no_post(answer: bytes) -> None:
    async with raw_server(sends(answer)) as server, pool_at(server.url) as pool:
        for _ in range(50):
            assert (await exchange(pool, "POST")).status == 200
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    assert len(server.tls) == 50


@pytest.mark.parametrize("ending", ["closes", "resets", "sends"])
async def test_a_connection_whose_end_the_event_loop_has_not_seen_yet_gets_no_post(ending: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    idle, ended = threading.Event(), threading.Event()

    def serve() -> None:
        first, _ = listening.accept()
        first.recv(65_536)
        first.sendall(OK)
        idle.wait(20)
        if ending == "sends":
            first.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        elif ending == "resets":
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if ending != "sends":
            first.close()
        ended.set()
        second, _ = listening.accept()
        second.recv(65_536)
        second.sendall(OK)
        second.close()
        first.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        async with pool_at(f"http://127.0.0.1:{listening.getsockname()[1]}") as pool:
            await exchange(pool, "POST")
            idle.set()
            # Blocks the event loop on purpose.
            ended.wait(20)
            time.sleep(0.05)  # noqa: ASYNC251

            assert (await exchange(pool, "POST")).status == 200
    finally:
        server.join(20)
        listening.close()


async def test_a_connection_that_dies_while_idle_leaves_the_pool_at_once() -> None:
    async with raw_server(sends(OK)) as server, pool_at(server.url) as pool:
        await exchange(pool)
        await until(lambda: not pool._idle)
        assert not pool._connections


async def test_a_connection_that_is_being_given_up_gets_no_request() -> None:
    async with raw_server(keeping) as server, pool_at(server.url) as pool:
        await exchange(pool)
        # What nobody asked for; the event loop tells of the end only later.
        pool._idle[-1].data_received(b"HTTP/1.1 408 Request Timeout\r\n")

        assert (await exchange(pool, "POST")).status == 200
        assert len(server.tls) == 2


async def test_idle_and_old_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_MAX_IDLE_SECONDS", 0.1)
    async with raw_server(keeping) as server, pool_at(server.url) as pool:
        await asyncio.gather(exchange(pool), exchange(pool))
        await until(lambda: not server.open)
        assert not pool._idle

        monkeypatch.setattr(pools, "_MAX_AGE_SECONDS", 0.0)
        await exchange(pool)
        await exchange(pool)
        assert len(server.tls) == 4


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_ten_thousand_cancelled_requests_leave_no_descriptor_and_no_task(pki: Pki) -> None:
    tls = server_context(pki.d1_server, pki.gateway_client_ca)
    tasks = asyncio.all_tasks()

    async with (
        raw_server(silent) as plain,
        raw_server(silent, tls) as secure,
        pool_at(plain.url) as first,
        pool_at(secure.url, client_context(pki.gateway_client, pki.server_ca)) as second,
    ):
        before = _descriptors()
        for number in range(100):
            pool, pause = (second, 0.02) if number < 4 else (first, 0.001)
            requests = [asyncio.create_task(exchange(pool)) for _ in range(100)]
            await asyncio.sleep(pause * (number % 3))
            for request in requests:
                request.cancel()
            outcomes = await asyncio.gather(*requests, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
        await until(lambda: _descriptors() <= before)
        assert not first._connections
        assert not second._connections
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_closed_pool_writes_no_request_and_keeps_no_connection(pki: Pki, *, is_secure: bool) -> None:
    tls = server_context(pki.d1_server, pki.gateway_client_ca) if is_secure else None
    async with raw_server(keeping, tls) as server:
        async with pool_at(server.url, client_context(pki.gateway_client, pki.server_ca)) as pool:
            connecting = asyncio.create_task(exchange(pool))
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(connecting, exchange(pool), return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [ExchangeError, ExchangeError]
        assert [outcome.fate.sent for outcome in outcomes if isinstance(outcome, ExchangeError)] == [False, False]
        await until(lambda: not pool._connections and not server.open)
        assert len(server.tls) <= 1


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_request_cancelled_as_its_connection_is_made_leaves_none(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, *, is_secure: bool
) -> None:
    tls = server_context(pki.d1_server, pki.gateway_client_ca) if is_secure else None
    context = client_context(pki.gateway_client, pki.server_ca)
    async with raw_server(silent, tls) as server, asyncio.timeout(5), pool_at(server.url, context) as pool:
        opened = pool._opened
        request = asyncio.create_task(exchange(pool))

        def cancelling(connection: Connection) -> None:
            opened(connection)
            request.cancel()

        monkeypatch.setattr(pool, "_opened", cancelling)
        with pytest.raises(asyncio.CancelledError):
            await request
        await until(lambda: not pool._connections and not server.open)


async def test_a_failed_request_leaves_its_error_to_no_garbage_collector() -> None:
    async with raw_server(sends(b"x")) as server, pool_at(server.url) as pool:
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(ExchangeError):
                await exchange(pool)
            # The callback that woke this task holds it until then.
            await asyncio.sleep(0)
            assert not any(isinstance(each, ExchangeError) for each in gc.get_objects())
        finally:
            gc.enable()


async def test_addresses_of_both_families_are_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    # An address that never answers (RFC 6666), and one that nobody listens on.
    hopeless = [("100::1", 443), ("::1", 9)]

    async def resolve(_host: str, port: int, **_keywords: Any) -> list[Any]:
        v6 = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (*address, 0, 0)) for address in hopeless]
        return [*v6, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with raw_server(keeping) as server, pool_at(server.url) as pool:
        monkeypatch.setattr(pool, "_loop", _Resolving(loop, resolve))
        async with asyncio.timeout(2):
            assert (await exchange(pool)).status == 200


class _Resolving:
    """An event loop that resolves names in its own way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resolve: Any) -> None:
        self._loop = loop
        self.getaddrinfo = resolve

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@pytest.mark.parametrize(("seconds", "resumed"), [(3600.0, [False, True, True]), (0.0, [False] * 3)])
async def test_later_connections_resume_the_tls_session_of_the_first_until_it_ends(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, seconds: float, resumed: list[bool]
) -> None:
    monkeypatch.setattr(pools, "_MAX_SESSION_SECONDS", seconds)
    tls = server_context(pki.d1_server, pki.gateway_client_ca)
    context = client_context(pki.gateway_client, pki.server_ca)
    async with raw_server(sends(LAST), tls) as server, pool_at(server.url, context) as pool:
        for _ in range(3):
            await exchange(pool)

    assert [each is not None and each.session_reused for each in server.tls] == resumed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_http_1_1_and_the_name_are_offered_in_the_handshake(pki: Pki, version: ssl.TLSVersion) -> None:
    names: list[str | None] = []
    context = threeds_context(
        ThreeDSSettings(base_url="https://localhost", api_key=SecretStr("a-key"), tls_ca_file=pki.server_ca)
    )
    tls = server_context(pki.threeds_server)
    tls.maximum_version = version
    tls.sni_callback = lambda _, name, __: names.append(name)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    async with raw_server(sends(OK), tls) as server, pool_at(server.url, context) as pool:
        await exchange(pool)

    assert names == ["localhost"]
    assert [each and each.selected_alpn_protocol() for each in server.tls] == ["http/1.1"]


async def _fault(url: str, context: ssl.SSLContext | None, *, connect_seconds: float = 5.0) -> ExchangeError:
    async with pool_at(url, context, connect_seconds=connect_seconds) as pool:
        with pytest.raises(ExchangeError) as caught:
            await exchange(pool)
        assert not pool._connections
        return caught.value


async def test_a_failed_connection_says_what_failed(pki: Pki, tmp_path: Path) -> None:
    strangers = make_pki(tmp_path / "strangers")
    ours = client_context(pki.gateway_client, pki.server_ca)
    servers = server_context(pki.d1_server, pki.gateway_client_ca)
    old = server_context(pki.d1_server, pki.gateway_client_ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    modern = client_context(pki.gateway_client, pki.server_ca)
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    async with (
        raw_server(silent, servers) as strict,
        raw_server(silent, servers, "127.0.0.2") as elsewhere,
        raw_server(silent, old) as outdated,
        raw_server(greeting) as plain,
        raw_server(silent) as hanging,
    ):
        untrusted = await _fault(strict.url, client_context(pki.gateway_client, strangers.server_ca))
        misnamed = await _fault(elsewhere.url, ours)
        disagreeing = await _fault(outdated.url, modern)
        speechless = await _fault(plain.url.replace("http", "https"), ours)
        slow = await _fault(hanging.url.replace("http", "https"), ours, connect_seconds=0.2)
    unresolved = await _fault("https://d1.invalid", ours, connect_seconds=30)
    refused = await _fault(plain.url, None)

    assert isinstance(untrusted.fault, ssl.SSLCertVerificationError)
    assert isinstance(misnamed.fault, ssl.SSLCertVerificationError)
    assert isinstance(disagreeing.fault, OSError)
    assert isinstance(speechless.fault, ssl.SSLError)
    assert isinstance(slow.fault, TimeoutError)
    assert isinstance(unresolved.fault, socket.gaierror)
    assert isinstance(refused.fault, ConnectionRefusedError)
    failures = (untrusted, misnamed, disagreeing, speechless, slow, unresolved, refused)
    assert {failure.fate for failure in failures} == {Fate.NOT_CONNECTED}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/a b", {}),
        ("/a\r\nX: y", {}),
        ("/", {"X": "y\r\nAuthorization: z"}),
        ("/", {"X": "y\nz"}),
        ("/", {"X": "y\0"}),
        ("/", {"X\r\nY": "z"}),
        ("/", {"X": "caf\xe9"}),
    ],
)
def test_a_request_holds_nothing_that_would_end_a_header(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"line break|ascii"):
        encode_request("GET", path, headers, None)


def test_a_request_states_the_length_of_its_body() -> None:
    assert encode_request("POST", "/a%20b?c=d", {"Host": "d1"}, b"{}") == (
        b"POST /a%20b?c=d HTTP/1.1\r\nHost: d1\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert (
        encode_request("PUT", "/", {"Host": "d1"}, None) == b"PUT / HTTP/1.1\r\nHost: d1\r\nContent-Length: 0\r\n\r\n"
    )
    assert encode_request("GET", "/", {"Host": "d1"}, None) == b"GET / HTTP/1.1\r\nHost: d1\r\n\r\n"
