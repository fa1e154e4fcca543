"""The reader of the gateway's standard error stops reading, or disappears."""

import asyncio
import os
import re
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, channel
from tests.contract.card_rpcs import prepare
from tests.e2e.command import running
from tests.running import edge_session

_PIPE_BYTES = 65_536


@asynccontextmanager
async def served(sandbox: Sandbox, folder: Path, *, is_gone: bool) -> AsyncIterator[tuple[Process, dict[str, str]]]:
    """Run a gateway of whose standard error nobody reads more than that it has started; yield what it said then."""
    settings = folder / "d1-gateway.toml"
    settings.write_text(GatewayConfig.of(sandbox, folder).to_toml())
    reading, writing = os.pipe()
    async with running("serve", "--config", settings, stderr=writing) as process:
        os.close(writing)
        ready = await asyncio.to_thread(_ready, reading)
        if is_gone:
            os.close(reading)
        yield process, ready
        if not is_gone:
            os.close(reading)


def _ready(reading: int) -> dict[str, str]:
    started, said = b'"event":"gateway_started"', b""
    while started not in said[: said.rfind(b"\n") + 1]:
        read = os.read(reading, _PIPE_BYTES)
        assert read, said.decode()
        said += read
    ready: dict[str, str] = next(orjson.loads(line) for line in said.splitlines() if started in line)
    return ready


async def suspend_and_resume(sandbox: Sandbox, address: str) -> None:
    """Make a change and undo it; both must succeed."""
    async with channel(address, sandbox.pki) as connected:
        cards, ids = CardServiceStub(connected), {"issuer_id": sandbox.issuer_id, "card_id": "card-active"}
        await cards.SuspendCard(card.SuspendCardRequest(**ids, reason_code="USER_DECISION"), timeout=10)
        assert sandbox.store.card("card-active").suspended_for is not None
        await cards.ResumeCard(card.ResumeCardRequest(**ids, reason_code="USER_DECISION"), timeout=10)
        assert sandbox.store.card("card-active").suspended_for is None


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "stopped"])
async def test_without_a_reader_of_its_log_a_gateway_serves_on_and_ends_well(
    sandbox: Sandbox, tmp_path: Path, *, is_gone: bool
) -> None:
    prepare(sandbox.store)
    async with served(sandbox, tmp_path, is_gone=is_gone) as (process, ready):
        async with edge_session(sandbox) as session:
            # It logs more than a pipe holds.
            for _ in range(400):
                async with session.get(f"https://{ready['edge']}/nope") as answer:
                    assert answer.status == 404
        await suspend_and_resume(sandbox, ready["grpc"])

        async with aiohttp.ClientSession() as session, session.get(f"http://{ready['admin']}/metrics") as answer:
            (lost,) = re.findall(r"^d1_gateway_log_lines_lost_total (\S+)", await answer.text(), re.MULTILINE)
        assert (float(lost) > 0) is is_gone
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
