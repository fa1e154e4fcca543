import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Browser, async_playwright, expect

from sandbox import Sandbox
from sandbox.common.pki import make_pki
from sandbox.d1.callbacks.notifier import EdgeCredentials
from sandbox.gateway import GatewayConfig, GatewayProcess, write_policy
from tests.e2e.command import calling
from tests.interop.interop_languages import require
from tools.operators_page_pictures import CHROMIUM

_MARK = "D1_E2E_TEST"


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """Every process that a module's tests start, directly or not, inherits the module's mark."""
    mark = uuid4().hex
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(_MARK, mark)
        yield
    left = {pid: command for pid, command in _marked(f"{_MARK}={mark}") if pid != os.getpid()}
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"left running: {left}"


def _marked(variable: str) -> Iterator[tuple[int, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has ended meanwhile, or is not ours.
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name), (process / "cmdline").read_text().replace("\0", " ")


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "keys") as running:
        yield running


@pytest.fixture
async def gateway(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    async with _serving(sandbox, tmp_path) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    """Settings of a gateway of which nobody answers the calls."""
    pki, policy = make_pki(tmp_path / "keys"), write_policy(tmp_path / "policy.toml")
    oauth = EdgeCredentials("d1", "client-secret", "notifications")
    return GatewayConfig("SANDBOX001", pki, "https://127.0.0.1:9", tmp_path / "d1-gateway.db", policy, oauth=oauth)


@pytest.fixture(scope="module")
async def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """A sandbox for tests that have cards and consumers of their own, and leave no faults."""
    async with Sandbox.start(tmp_path_factory.mktemp("sandbox") / "keys") as running:
        yield running


@pytest.fixture(scope="module")
async def shared_gateway(
    shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    """The gateway of the shared sandbox: it may be restarted, but not stopped."""
    async with _serving(shared_sandbox, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def caller(shared_sandbox: Sandbox, shared_gateway: GatewayProcess) -> Mapping[str, str]:
    """The environment of commands with all grants at the shared gateway."""
    return calling(shared_gateway, shared_sandbox.pki)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    require(CHROMIUM)
    expect.set_options(timeout=20_000)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield launched
        await launched.close()


@asynccontextmanager
async def _serving(sandbox: Sandbox, folder: Path) -> AsyncIterator[GatewayProcess]:
    async with await GatewayProcess.start(GatewayConfig.of(sandbox, folder), folder) as running:
        sandbox.set_edge(running.edge)
        yield running
