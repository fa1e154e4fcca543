import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from sandbox import Sandbox
from sandbox.common.faults import Fault
from tests.integration.sandbox.sandbox_caller import authenticated, is_served


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port: int = unused.getsockname()[1]
        return port


async def test_a_sandbox_listens_only_while_it_runs(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path) as sandbox:
        tls = authenticated(sandbox)
        while_running = [await is_served(sandbox.d1_url, tls), await is_served(sandbox.control_url)]

    assert while_running == [True, True]
    assert [await is_served(sandbox.d1_url, tls), await is_served(sandbox.control_url)] == [False, False]


async def test_a_sandbox_listens_on_the_ports_that_it_is_given(tmp_path: Path) -> None:
    d1_port, control_port = free_port(), free_port()

    async with Sandbox.start(tmp_path, d1_port=d1_port, control_port=control_port) as sandbox:
        assert sandbox.d1_url == f"https://127.0.0.1:{d1_port}"
        assert sandbox.control_url == f"http://127.0.0.1:{control_port}"


async def test_a_taken_port_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    d1_port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="address already in use"):
        async with Sandbox.start(tmp_path, d1_port=d1_port, control_port=taken.getsockname()[1]):
            pass

    assert not await is_served(f"https://127.0.0.1:{d1_port}")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_issuer_has_an_id_of_ten_characters(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "a") as sandbox, Sandbox.start(tmp_path / "b", issuer_id="ISSUER0002") as other:
        assert len(sandbox.issuer_id) == 10
        assert other.issuer_id == "ISSUER0002"
    with pytest.raises(ValueError, match="10 characters"):
        async with Sandbox.start(tmp_path, issuer_id="SHORT"):
            pass


async def test_a_sandbox_stops_at_once_though_a_call_is_held(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with Sandbox.start(tmp_path) as sandbox:
        sandbox.faults.add(Fault(latency_ms=60_000))
        connector = aiohttp.TCPConnector(ssl=authenticated(sandbox))
        async with aiohttp.ClientSession(connector=connector) as session:
            held = asyncio.create_task(session.post(sandbox.d1_url))
            await asyncio.sleep(0.1)
            stopping = loop.time()
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)

    assert loop.time() - stopping < 5
    assert asyncio.all_tasks() == {asyncio.current_task()}
