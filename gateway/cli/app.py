"""The commands: ``d1-gateway demo | sandbox | serve | config check | keys | log copy``.

What serves takes a second to import, so those that need it import it themselves, and the others answer sooner.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway.aio.signals import TAKEN, release
from gateway.cli import event_log, keys
from gateway.settings import FILE_VARIABLE, Settings, SettingsError, load
from gateway.settings.dump import effective

__all__ = ["app"]

app = typer.Typer(
    help="One typed gRPC door between a card issuer's services, Thales D1 and a 3-D Secure server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config = typer.Typer(help="The settings.", no_args_is_help=True)
app.add_typer(config, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(event_log.app, name="log")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar=FILE_VARIABLE, help="TOML file with settings.", dir_okay=False),
]

_errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


@app.callback()
def begin(context: typer.Context) -> None:
    """Do what signals mean that have come meanwhile, unless that is for the command to say."""
    if context.invoked_subcommand != serve.__name__:
        release(*TAKEN)


@app.command()
def serve(config_file: ConfigFile = None) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    settings = _load(config_file)
    from gateway.bootstrap.serve import serve as run

    try:
        run(settings)
    except SettingsError as error:
        raise _refused(error) from error
    except OSError as error:
        _errors.print(f"d1-gateway: {error}")
        raise typer.Exit(1) from error


@config.command("check")
def config_check(config_file: ConfigFile = None) -> None:
    """Print the effective settings with secrets masked, or every mistake with its place."""
    from gateway import bootstrap

    settings = _load(config_file)
    try:
        warnings = bootstrap.check(settings)
    except SettingsError as error:
        raise _refused(error) from error
    for warning in warnings:
        _errors.print(f"d1-gateway: warning: {warning}")
    print(effective(settings))  # noqa: T201 (its output is what the command is for)


@app.command()
def demo(
    cluster: Annotated[  # noqa: FBT002 (an option of the command line)
        bool,
        typer.Option("--cluster", help="Two gateways that share three NATS servers, and one of each dies; a minute."),
    ] = False,
) -> None:
    """Walk cards, authentications and notifications through simulators and gateway; under half a minute."""
    from sandbox.demo import demo as demo_alone
    from sandbox.demo.cluster import demo_cluster

    walk = demo_cluster if cluster else demo_alone
    if not asyncio.run(walk(Console(highlight=False))):
        raise typer.Exit(1)


@app.command()
def sandbox() -> None:
    """Keep the simulators and a gateway up, with commands to paste; Ctrl-C ends all."""
    from sandbox.playground import playground

    asyncio.run(playground(Console(highlight=False)))


def _load(config_file: Path | None) -> Settings:
    try:
        return load(config_file)
    except SettingsError as error:
        raise _refused(error) from error


def _refused(error: SettingsError) -> typer.Exit:
    for mistake in error.mistakes:
        _errors.print(f"d1-gateway: {mistake}")
    return typer.Exit(2)
