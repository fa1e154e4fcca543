"""What a gateway writes while clients, upstreams and strangers fail it: JSON lines and nothing else."""

import asyncio
import json
import signal
import ssl
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, channel
from tests.e2e.calls import register
from tests.e2e.command import ended, running
from tests.e2e.watching import EARLIEST, take
from tests.running import failure_of

_STRANGE = (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff", b"\x00" * 64)
_EXPECTED = {
    "gateway_started",
    "tls_handshake_failed",
    "malformed_admin_request_rejected",
    "rpc_completed",
    "rpc_failed",
    "drain_started",
    "gateway_stopped",
}
"""The events that show that all of it has happened."""


async def _send(address: str, content: bytes) -> None:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with suppress(OSError, TimeoutError):
        writer.write(content)
        writer.write_eof()
        async with asyncio.timeout(1):
            await reader.read()
    writer.close()


async def _present_no_certificate(address: str) -> None:
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


async def _fail_at(addresses: dict[str, str]) -> None:
    ports = [addresses[name] for name in ("grpc", "edge", "admin")]
    await asyncio.gather(
        *(_send(port, each) for port in ports for each in _STRANGE), *map(_present_no_certificate, ports)
    )


async def test_each_line_of_a_gateway_in_trouble_is_a_json_object_with_event_level_and_time(tmp_path: Path) -> None:
    settings = tmp_path / "d1-gateway.toml"
    async with AsyncExitStack() as upstreams:
        sandbox = await upstreams.enter_async_context(Sandbox.start(tmp_path / "keys"))
        settings.write_text(GatewayConfig.of(sandbox, tmp_path).to_toml())
        async with running("serve", "--config", settings) as process, asyncio.timeout(50):
            assert process.stderr is not None
            started = await process.stderr.readline()
            addresses: dict[str, str] = json.loads(started)
            await _fail_at(addresses)
            async with channel(addresses["grpc"], sandbox.pki) as connected:
                await register(connected, "card_1")
                await upstreams.aclose()
                request = card.SuspendCardRequest(card_id="card_1", reason_code="USER_DECISION")
                assert (await failure_of(CardServiceStub(connected).SuspendCard(request, timeout=10))).outcome
                watch = asyncio.create_task(failure_of(take(connected, EARLIEST, lambda _: False)))
                await asyncio.sleep(0.2)
                process.send_signal(signal.SIGTERM)
                gone = await ended(process)
                assert (await watch).reason == "SERVER_DRAINING"

    assert (gone.status, gone.stdout) == (0, "")
    lines: list[dict[str, Any]] = [json.loads(line) for line in (started.decode() + gone.stderr).splitlines()]
    assert {"event", "level", "timestamp"} <= set.intersection(*map(set, lines))
    assert {line["event"] for line in lines} >= _EXPECTED
