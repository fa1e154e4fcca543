"""The commands: ``d1-gateway demo | sandbox | serve | config | d1 check | keys | log | audit``.

The gateway takes a second to import, so each command imports what it needs and the others start faster.
"""

import gc
import platform
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway.aio.signals import TAKEN, release
from gateway.cli import audit, config, d1, event_log, keys
from gateway.cli.output import FAILED, SIGNALLED, UNUSABLE, ConfigFile, failed, load_settings
from gateway.settings import SettingsError
from gateway.version import described

__all__ = ["app"]

app = typer.Typer(
    help="A typed gRPC gateway between a card issuer's services, Thales D1 and a 3-D Secure server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(config.app, name="config")
app.add_typer(d1.app, name="d1")
app.add_typer(keys.app, name="keys")
app.add_typer(event_log.app, name="log")
app.add_typer(audit.app, name="audit")


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if is_asked:
        print(f"d1-gateway {described()}, Python {platform.python_version()}")  # noqa: T201 (the command's output)
        raise typer.Exit


@app.callback()
def begin(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Undo what was for the import only: signals were held, and no garbage collected. `serve` does so itself, later."""
    del version
    if context.invoked_subcommand != serve.__name__:
        gc.enable()
        release(*TAKEN)


@app.command()
def serve(config_file: ConfigFile = None) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    settings = load_settings(config_file)
    from gateway.bootstrap.serve import serve as run

    try:
        run(settings)
    except SettingsError as error:
        raise failed(UNUSABLE, *error.mistakes) from error
    except OSError as error:
        raise failed(FAILED, str(error)) from error


@app.command()
def demo(
    cluster: Annotated[  # noqa: FBT002 (an option of the command line)
        bool,
        typer.Option("--cluster", help="Run two gateways and three NATS servers; one of each is killed. A minute."),
    ] = False,
    console: Annotated[  # noqa: FBT002 (as above)
        bool,
        typer.Option("--console", help="Walk slowly in the sandbox's console, a page to open, until Ctrl-C."),
    ] = False,
    pace: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long each step can be seen in the console.", min=0, max=10),
    ] = 3.0,
) -> None:
    """Demonstrate cards, authentications and notifications against simulators. Under half a minute."""
    from sandbox.common.signals import run
    from sandbox.demo import Guide, NobodyWatchesError
    from sandbox.demo import demo as demo_alone
    from sandbox.demo.cluster import demo_cluster

    terminal = Console(highlight=False)
    if console:
        if cluster:
            raise failed(UNUSABLE, "--console shows one gateway: leave out --cluster")
        guide = Guide(terminal, pace_seconds=pace)
        try:
            ended = run(guide.walk())
        except NobodyWatchesError as error:
            raise failed(FAILED, str(error)) from error
        # Once all steps are over, a signal is how it ends.
        passed = ended if guide.passed is None else guide.passed
    else:
        passed = run((demo_cluster if cluster else demo_alone)(terminal))
    if isinstance(passed, signal.Signals):
        raise typer.Exit(SIGNALLED + passed)
    if not passed:
        raise typer.Exit(FAILED)


@app.command()
def sandbox(
    folder: Annotated[
        Path, typer.Option(help="For keys, simulators' state, event log and gateway log: kept, and used again.")
    ] = Path("d1-sandbox"),
    port_base: Annotated[
        int,
        typer.Option(
            metavar="PORT",
            help="First of six ports: control API, D1, 3-D Secure server, gateway's gRPC, callbacks, admin. 0: any.",
            min=0,
            max=65_530,
        ),
    ] = 7440,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what earlier sandboxes left in the folder.")] = False,
    fixtures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON with cards, consumers and authenticators to add, unless known."),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; for a container, whose ports are published.")
    ] = "127.0.0.1",
    no_handler: Annotated[
        bool, typer.Option("--no-handler", help="Answer none of D1's callbacks: bring your own handler.")
    ] = False,
) -> None:
    """Run the simulators and a gateway, with commands to paste, until Ctrl-C."""
    from sandbox.common.signals import run
    from sandbox.playground import Choices, PlaygroundError, playground

    choices = Choices(folder, port_base, fresh=fresh, fixtures=fixtures, listen=listen, handler=not no_handler)
    try:
        run(playground(Console(highlight=False), choices))
    except PlaygroundError as error:
        raise failed(UNUSABLE, *error.args) from error
