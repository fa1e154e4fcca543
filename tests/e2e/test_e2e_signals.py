"""Signals during the start of `d1-gateway`, before its own handlers are installed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from sandbox.common.pki import make_pki
from sandbox.gateway import GatewayConfig, SharedStorage, write_policy
from tests.e2e.command import running, takes

_SECONDS = 30.0
_POLL_SECONDS = 0.005
_ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
_DRAINED = ["gateway_started", "drain_started", "gateway_stopped"]


class _Process:
    """A command that has just begun."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: Path) -> None:
        self.process = process
        self._stderr = stderr

    @property
    def stderr(self) -> list[str]:
        return self._stderr.read_text().splitlines()

    @property
    def events(self) -> list[str]:
        """What it logged; that it wrote anything else fails."""
        return [orjson.loads(line)["event"] for line in self.stderr]

    async def until_it_takes(self, signals: str) -> None:
        """Wait until signals are held back (`SigBlk`) or handled (`SigCgt`); before, they are the interpreter's."""
        async with asyncio.timeout(_SECONDS):
            # SIGHUP is the last that is handled. Another process has no event for this.
            while not takes(self.process, signals, signal.SIGHUP):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)

    async def until_logged(self, event: str) -> None:
        async with asyncio.timeout(_SECONDS):
            while event not in self.events:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(_POLL_SECONDS)

    async def ended(self) -> int:
        async with asyncio.timeout(_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def _begun(
    folder: Path, *arguments: str | Path, ignored: signal.Signals | None = None
) -> AsyncIterator[_Process]:
    log = folder / "stderr"
    with log.open("wb") as stderr:
        async with running(*arguments, ignored=ignored, stderr=stderr.fileno()) as process:
            yield _Process(process, log)


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    policy = write_policy(tmp_path / "policy.toml")
    return GatewayConfig(
        "SANDBOX001", make_pki(tmp_path / "keys"), "https://127.0.0.1:9", tmp_path / "d1-gateway.db", policy
    )


@pytest.fixture
def alone(config: GatewayConfig, tmp_path: Path) -> Path:
    file = tmp_path / "alone.toml"
    file.write_text(config.to_toml())
    return file


@pytest.fixture
def sharing(config: GatewayConfig, tmp_path: Path) -> Path:
    """Settings of gateways that look for their NATS server for seconds, in vain."""
    file = tmp_path / "sharing.toml"
    shared = SharedStorage.make(["nats://127.0.0.1:9"], tmp_path)
    file.write_text(replace(config, shared=shared).to_toml())
    return file


@pytest.mark.parametrize("number", _ENDING)
@pytest.mark.parametrize("moment", ["SigBlk", "SigCgt", "gateway_started"])
async def test_a_signal_at_any_moment_ends_a_gateway(
    alone: Path, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    async with _begun(tmp_path, "serve", "--config", alone) as begun:
        await (begun.until_it_takes(moment) if moment.startswith("Sig") else begun.until_logged(moment))
        begun.process.send_signal(number)

        assert await begun.ended() == 0
    assert begun.events == _DRAINED or (moment != "gateway_started" and begun.events == ["gateway_start_cancelled"])


async def test_a_gateway_that_is_to_outlive_its_terminal_does(alone: Path, tmp_path: Path) -> None:
    async with _begun(tmp_path, "serve", "--config", alone, ignored=signal.SIGHUP) as begun:
        await begun.until_it_takes("SigBlk")
        begun.process.send_signal(signal.SIGHUP)
        await begun.until_logged("gateway_started")
        begun.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.5)
        assert begun.events == ["gateway_started"]

        begun.process.send_signal(signal.SIGTERM)
        assert await begun.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_gateway_that_still_looks_for_its_storage_ends_at_once(
    sharing: Path, tmp_path: Path, number: signal.Signals
) -> None:
    async with _begun(tmp_path, "serve", "--config", sharing) as begun:
        await begun.until_logged("nats_not_connected")
        begun.process.send_signal(number)

        assert await begun.ended() == 0
    assert begun.events == ["nats_not_connected", "gateway_start_cancelled"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGINT, 130)]
)
async def test_other_commands_end_by_signals_as_commands_do(
    alone: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    async with _begun(tmp_path, "config", "check", "--config", alone) as begun:
        await begun.until_it_takes("SigBlk")
        begun.process.send_signal(number)

        assert await begun.ended() == status
    assert begun.stderr == []
