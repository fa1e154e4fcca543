"""Runs a sandbox and its gateway until it is cancelled."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from sandbox.common.server import HOST
from sandbox.common.state import KeptState, StateError
from sandbox.console.gateway import CHANNEL_OPTIONS, Gateway
from sandbox.gateway import GatewayConfig, GatewayProcess, channel
from sandbox.playground import commands
from sandbox.playground.errors import PlaygroundError
from sandbox.playground.files import Playing
from sandbox.playground.fixtures import SAMPLE, Fixtures
from sandbox.playground.folder import use_folder
from sandbox.playground.ports import Ports
from sandbox.sandbox import Sandbox

__all__ = ["Choices", "playground"]

_CALLBACK_SECONDS: Final = 10.0
"""The handlers' deadline, longer than by default: a person may type the reply."""
_EDGE_SECONDS: Final = _CALLBACK_SECONDS + 5.0
_KINDS: Final = ("consumer_information", "deliver_otp", "authenticate", "authentication_result", "card_credentials")
_RETENTION_SECONDS: Final = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of the command."""

    folder: Path
    port_base: int
    """The first port; 0 for any free ports."""
    fresh: bool
    """Whether to delete what earlier sandboxes left in the folder."""
    fixtures: Path | None
    """Cards, consumers and authenticators to add; None for the sample, in a new folder only."""
    handler: bool
    """Whether the sandbox answers callbacks itself."""
    listen: str = HOST
    """The address that everything listens on."""


async def playground(console: Console, choices: Choices) -> None:
    """Run the simulators and a gateway until cancelled.

    Raises:
        PlaygroundError: They cannot be started as chosen.
    """
    fixtures = None if choices.fixtures is None else Fixtures.read(choices.fixtures)
    async with AsyncExitStack() as running:
        folder = running.enter_context(use_folder(choices.folder, fresh=choices.fresh))
        ports = Ports.of(choices.port_base)
        try:
            playing = await _start(running, folder, ports, fixtures, choices.listen)
        except StateError as error:
            raise PlaygroundError(str(error)) from None
        except OSError as error:
            raise PlaygroundError(f"{folder}: {error}") from None
        sandbox, gateway = playing.sandbox, playing.gateway
        if not choices.handler:
            await sandbox.issuer.answer(())
        connected = await running.enter_async_context(channel(gateway.grpc, sandbox.pki))
        addresses = {"grpc": gateway.grpc, "edge": gateway.edge, "admin": gateway.admin}
        shown = await running.enter_async_context(channel(gateway.grpc, sandbox.pki, CHANNEL_OPTIONS))
        await running.enter_async_context(sandbox.console.connected(Gateway(shown, gateway.log, addresses)))
        answering = asyncio.create_task(sandbox.issuer.run(connected))
        running.callback(answering.cancel)
        await sandbox.issuer.answer(sandbox.issuer.kinds)
        _say(console, commands.text(playing))
        await _keep_running(gateway, console)


async def _start(
    running: AsyncExitStack, folder: Path, ports: Ports, fixtures: Fixtures | None, listen: str
) -> Playing:
    state = running.enter_context(KeptState.open(folder))
    sandbox = await running.enter_async_context(
        Sandbox.start(
            folder / "keys",
            d1_port=ports.d1,
            threeds_port=ports.threeds,
            control_port=ports.control,
            host=listen,
            edge_timeout_seconds=_EDGE_SECONDS,
            state=state,
        )
    )
    begun = state.table("begun", bool)
    if fixtures is None:
        fixtures = Fixtures() if begun else Fixtures.read(SAMPLE)
    fixtures.register(sandbox)
    try:
        gateway = await GatewayProcess.start(_config(sandbox, folder, ports, listen), folder, kept=True)
    except RuntimeError as error:
        raise PlaygroundError(str(error)) from None
    await running.enter_async_context(gateway)
    sandbox.set_edge(gateway.edge)
    fixtures.enrol(sandbox)
    begun["begun"] = True
    playing = Playing(folder, sandbox, gateway)
    playing.write_files()
    return playing


def _config(sandbox: Sandbox, folder: Path, ports: Ports, listen: str) -> GatewayConfig:
    listeners: dict[str, Any] = {table: {"host": listen} for table in ("grpc", "edge", "admin")}
    deadlines: dict[str, Any] = {f"callbacks.{kind}": {"deadline_seconds": _CALLBACK_SECONDS} for kind in _KINDS}
    return replace(
        GatewayConfig.of(sandbox, folder),
        grpc_port=ports.grpc,
        edge_port=ports.edge,
        admin_port=ports.admin,
        retention_seconds=_RETENTION_SECONDS,
        more={**listeners, **deadlines},
    )


async def _keep_running(gateway: GatewayProcess, console: Console) -> None:
    while True:
        status = await gateway.wait()
        _say(console, f"The gateway ended with {status}; it starts again.")
        try:
            await gateway.restart()
        except (RuntimeError, OSError) as error:
            raise PlaygroundError(str(error)) from None


def _say(console: Console, text: str) -> None:
    try:
        console.print(text, markup=False, soft_wrap=True)
    except OSError as error:
        raise PlaygroundError(f"standard output: {error.strerror}") from None
