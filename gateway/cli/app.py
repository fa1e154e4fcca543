"""The commands: ``d1-gateway demo | sandbox | serve | config check | keys | log copy``.

What serves takes a second to import, so those that need it import it themselves, and the others answer sooner.
"""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from gateway.aio.signals import TAKEN, release
from gateway.cli import event_log, keys
from gateway.cli.output import FAILED, UNUSABLE, ConfigFile, load_settings, refused, tell
from gateway.settings import SettingsError
from gateway.settings.dump import effective

__all__ = ["app"]

app = typer.Typer(
    help="A typed gRPC gateway between a card issuer's services, Thales D1 and a 3-D Secure server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config = typer.Typer(help="Inspect the configuration.", no_args_is_help=True)
app.add_typer(config, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(event_log.app, name="log")


@app.callback()
def begin(context: typer.Context) -> None:
    """Do what signals mean that have come meanwhile, unless that is for the command to say."""
    if context.invoked_subcommand != serve.__name__:
        release(*TAKEN)


@app.command()
def serve(config_file: ConfigFile = None) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    settings = load_settings(config_file)
    from gateway.bootstrap.serve import serve as run

    try:
        run(settings)
    except SettingsError as error:
        raise refused(UNUSABLE, *error.mistakes) from error
    except OSError as error:
        raise refused(FAILED, str(error)) from error


@config.command("check")
def config_check(config_file: ConfigFile = None) -> None:
    """Print the effective settings with secrets masked, or every mistake with its place."""
    from gateway import bootstrap

    settings = load_settings(config_file)
    try:
        warnings = bootstrap.check(settings)
    except SettingsError as error:
        raise refused(UNUSABLE, *error.mistakes) from error
    for warning in warnings:
        tell(f"warning: {warning}")
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
