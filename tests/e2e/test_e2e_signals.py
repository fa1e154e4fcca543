"""Signals during the start of `d1-gateway`, before its own handlers are installed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import orjson
import pytest

from sandbox.gateway import GatewayConfig, SharedStorage
from tests.e2e.command import running, takes

_SECONDS = 50.0
_POLL_SECONDS = 0.005
_ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
_DRAINED = ["gateway_started", "drain_started", "gateway_stopped"]


class _Begun:
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

    async def until(self, moment: str) -> None:
        """Wait until signals are held back (`SigBlk`) or handled (`SigCgt`), or an event is logged."""

        def has_come() -> bool:
            # SIGHUP is the last that is handled; before it takes signals, they are the interpreter's.
            is_of_signals = moment.startswith("Sig")
            return takes(self.process, moment, signal.SIGHUP) if is_of_signals else moment in self.events

        while not has_come():  # noqa: ASYNC110 (another process has no event for this)
            await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def _begun(folder: Path, *arguments: str | Path, ignored: signal.Signals | None = None) -> AsyncIterator[_Begun]:
    log = folder / "stderr"
    with log.open("wb") as stderr:
        process = running(*arguments, ignored=ignored, stderr=stderr.fileno())
        async with asyncio.timeout(_SECONDS), process as begun:
            yield _Begun(begun, log)


def _written(config: GatewayConfig) -> Path:
    file = config.event_log.with_suffix(".toml")
    file.write_text(config.to_toml())
    return file


@pytest.mark.parametrize("number", _ENDING)
@pytest.mark.parametrize("moment", ["SigBlk", "SigCgt", "gateway_started"])
async def test_a_signal_at_any_moment_ends_a_gateway(
    config: GatewayConfig, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    async with _begun(tmp_path, "serve", "--config", _written(config)) as begun:
        await begun.until(moment)
        begun.process.send_signal(number)

        assert await begun.process.wait() == 0
    assert begun.events == _DRAINED or (moment != "gateway_started" and begun.events == ["gateway_start_cancelled"])


async def test_a_gateway_that_is_to_outlive_its_terminal_does(config: GatewayConfig, tmp_path: Path) -> None:
    async with _begun(tmp_path, "serve", "--config", _written(config), ignored=signal.SIGHUP) as begun:
        await begun.until("SigBlk")
        begun.process.send_signal(signal.SIGHUP)
        await begun.until("gateway_started")
        begun.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.5)
        assert begun.events == ["gateway_started"]
        assert orjson.loads(begun.stderr[0])["version"] == metadata.version("d1-gateway")

        begun.process.send_signal(signal.SIGTERM)
        assert await begun.process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_gateway_that_still_looks_for_its_storage_ends_at_once(
    config: GatewayConfig, tmp_path: Path, number: signal.Signals
) -> None:
    # It looks for its NATS server for seconds, in vain.
    sharing = replace(config, shared=SharedStorage.make(["nats://127.0.0.1:9"], tmp_path))
    async with _begun(tmp_path, "serve", "--config", _written(sharing)) as begun:
        await begun.until("nats_not_connected")
        begun.process.send_signal(number)

        assert await begun.process.wait() == 0
    assert begun.events == ["nats_not_connected", "gateway_start_cancelled"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGINT, 130)]
)
async def test_other_commands_end_by_signals_as_commands_do(
    config: GatewayConfig, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    async with _begun(tmp_path, "config", "check", "--config", _written(config)) as begun:
        await begun.until("SigBlk")
        begun.process.send_signal(number)

        assert await begun.process.wait() == status
    assert begun.stderr == []
