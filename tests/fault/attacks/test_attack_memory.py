"""Strangers at the gRPC port: they cannot fill the gateway's memory, and callers notice nothing of them."""

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.common.pki import Identity
from sandbox.common.ports import free_ports
from sandbox.common.tls import client_context
from sandbox.d1.model.contract import CardState
from sandbox.gateway import GatewayConfig, GatewayProcess, channel
from tests.contract.card_rpcs import RPCS, prepare
from tests.fault.attacks.hostile import Connection, connections, message_head
from tests.fault.faulty import until

_EXPOSURE = Path(__file__).parents[3] / "docs" / "exposure.md"
_CONNECTIONS = 30
_STREAMS = 32
_LARGE_BYTES = 390_000
_MAX_MEBIBYTES = 300
_SUSPEND = "/issuer.card.v1.CardService/SuspendCard"
_CHECK, _WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
_WITHHELD = message_head(_LARGE_BYTES) + bytes(_LARGE_BYTES - 1)
_EMPTY = message_head(0)


@dataclass(frozen=True, slots=True)
class Besieged:
    """A gateway process with default settings."""

    sandbox: Sandbox
    gateway: GatewayProcess

    def tls(self, identity: Identity) -> ssl.SSLContext:
        return client_context(identity, self.sandbox.pki.server_ca)

    @property
    def strangers(self) -> ssl.SSLContext:
        """The TLS context of who has a certificate and no grant."""
        return self.tls(self.sandbox.pki.stranger)

    @property
    def peak_mebibytes(self) -> int:
        """The most memory that was resident since `forget_peak`."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.gateway.pid}/status").read_text())
        assert found is not None
        return int(found[1]) // 1024

    @property
    def open_files(self) -> int:
        return len([*Path(f"/proc/{self.gateway.pid}/fd").iterdir()])

    def forget_peak(self) -> None:
        # proc(5): 5 resets the peak.
        Path(f"/proc/{self.gateway.pid}/clear_refs").write_text("5")

    async def ended(self, rpc: str, code: str) -> int:
        """Return how many calls of an rpc have ended with a code, as the metrics say."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.gateway.admin}/metrics") as response:
            text = await response.text()
        found = re.search(rf'^d1_gateway_rpcs_total{{code="{code}",rpc="{rpc[1:]}"}} (\S+)$', text, re.MULTILINE)
        return 0 if found is None else int(float(found[1]))

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call and probe for the duration of the block; each call must succeed, and the memory stay small."""
        self.forget_peak()
        async with channel(self.gateway.grpc, self.sandbox.pki) as opened, asyncio.TaskGroup() as tasks:
            await _call(opened)
            task = tasks.create_task(_call_on(opened))
            yield
            assert not task.done()
            task.cancel()
            await _call(opened)
        assert self.peak_mebibytes < _MAX_MEBIBYTES


async def _call(opened: grpc.aio.Channel) -> None:
    stub: Any = NotificationServiceStub(opened)
    probe: Any = health_pb2_grpc.HealthStub(opened)
    await stub.ListSubscriptions(notification.ListSubscriptionsRequest(), timeout=15)
    await probe.Check(health_pb2.HealthCheckRequest(), timeout=15)


async def _call_on(opened: grpc.aio.Channel) -> None:
    while True:
        await _call(opened)
        await asyncio.sleep(0.01)


async def _flood(strangers: list[Connection], path: str, data: bytes, count: int) -> None:
    """Begin so many requests on each connection, as fast as the others get to work."""
    for each in strangers:
        for _ in range(count):
            each.request(path, data)
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
async def besieged(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Besieged]:
    folder = tmp_path_factory.mktemp("besieged")
    async with Sandbox.start(folder / "keys") as sandbox:
        prepare(sandbox.store)
        async with await GatewayProcess.start(GatewayConfig.of(sandbox, folder), folder) as gateway:
            yield Besieged(sandbox, gateway)


async def test_requests_withheld_by_who_has_no_grant_are_not_received(besieged: Besieged) -> None:
    async with besieged.calling(), connections(besieged.gateway.grpc, _CONNECTIONS, besieged.strangers) as strangers:
        for _ in range(2):
            await _flood(strangers, _SUSPEND, _WITHHELD, _STREAMS)
            await until(lambda: not any(each.open_streams for each in strangers))
    assert await besieged.ended(_SUSPEND, "PERMISSION_DENIED") == 2 * _CONNECTIONS * _STREAMS


async def test_withheld_probes_are_few_at_a_time_and_have_a_second(besieged: Besieged) -> None:
    async with besieged.calling(), connections(besieged.gateway.grpc, _CONNECTIONS, besieged.strangers) as strangers:
        await _flood(strangers, _CHECK, _WITHHELD, _STREAMS)
        await until(lambda: sum(each.open_streams for each in strangers) <= 64)
    # As many as come before the first ones have had their second.
    assert await besieged.ended(_CHECK, "RESOURCE_EXHAUSTED") > 0


async def test_a_connection_has_few_watches_of_health(besieged: Besieged) -> None:
    async with besieged.calling(), connections(besieged.gateway.grpc, _CONNECTIONS, besieged.strangers) as strangers:
        await _flood(strangers, _WATCH, _EMPTY, 8_800 // _CONNECTIONS)
        await until(lambda: all(each.open_streams <= 8 for each in strangers))
        assert not any(each.is_closed for each in strangers)


async def test_metadata_is_limited_even_before_the_settings_are_acknowledged(besieged: Besieged) -> None:
    request = RPCS["SuspendCard"].request.SerializeToString()
    async with connections(besieged.gateway.grpc, 1, besieged.tls(besieged.sandbox.pki.caller), acknowledges=False) as (
        caller,
    ):
        caller.request(_SUSPEND, message_head(len(request)) + request, metadata_bytes=20_000)
        await until(lambda: not caller.open_streams)
        assert await besieged.ended(_SUSPEND, "RESOURCE_EXHAUSTED") == 1
        assert besieged.sandbox.store.card("card-active").state is CardState.ACTIVE
        await until(lambda: caller.is_closed)


async def test_silent_connections_keep_nobody_out(besieged: Besieged) -> None:
    async with _silent(besieged.gateway.grpc, 2_000):
        await until(lambda: besieged.open_files > 2_000)
        # On a new connection.
        async with besieged.calling():
            await asyncio.sleep(0.5)


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
async def test_silent_connections_do_not_get_past_the_documented_proxy(besieged: Besieged, tmp_path: Path) -> None:
    async with _proxy(besieged.gateway.grpc, tmp_path) as address, channel(address, besieged.sandbox.pki) as opened:
        await opened.channel_ready()
        await _call(opened)
        before = besieged.open_files
        async with _silent(address, 100, source="127.0.0.2") as silent:
            await until(lambda: sum(each.done() for each in silent) >= 80)
            # Files of the moment.
            assert besieged.open_files < before + 10
            await until(lambda: all(each.done() for each in silent))
        await _call(opened)


@asynccontextmanager
async def _silent(address: str, count: int, *, source: str = "127.0.0.1") -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Open connections that say nothing, for the duration of the block; each of these tasks ends with one of them."""
    host, _, port = address.rpartition(":")

    async def say_nothing() -> None:
        # A proxy resets what it refuses.
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
            try:
                await reader.read()
            finally:
                writer.transport.abort()

    tasks = [asyncio.create_task(say_nothing()) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _proxy(gateway: str, folder: Path) -> AsyncIterator[str]:
    """Run HAProxy as documented, with a shorter delay; yields its address."""
    documented = re.search(r"^```\n(defaults\n.*?)^```", _EXPOSURE.read_text(), re.MULTILINE | re.DOTALL)
    assert documented is not None
    address = f"127.0.0.1:{free_ports(1)[0]}"
    file = folder / "haproxy.cfg"
    file.write_text(
        documented[1]
        .replace("bind :8443", f"bind {address}")
        .replace("10.1.2.4:8443", gateway)
        .replace("inspect-delay 5s", "inspect-delay 1s")
    )
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-f", str(file))
    try:
        yield address
    finally:
        process.kill()
        await process.wait()
