"""``d1-gateway log``: the event log as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import GatewayError
from gateway.ports import Engine
from gateway.settings import FILE_VARIABLE, SettingsError, load

__all__ = ["app", "tell"]

_FAILED = 1
_UNUSABLE = 2
_INTERRUPTED = 130

app = typer.Typer(help="The event log.", no_args_is_help=True)

Source = Annotated[Engine, typer.Option("--from", help="The one that is copied.")]
Target = Annotated[Engine, typer.Option("--to", help="The one that it is copied into.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar=FILE_VARIABLE, help="TOML file with the gateway's settings.", dir_okay=False),
]


@app.command()
def copy(*, source: Source, target: Target, config_file: ConfigFile = None) -> None:
    """Copy notifications and the cursors of subscriptions from one engine to the other.

    The settings name both: the file as event_log.path, and the NATS servers. The gateway that uses the file has to be
    stopped. Can be broken off and repeated: it goes on where it was.

    Exit status:

    - 0: everything was copied

    - 1: it failed midway; run it again

    - 2: the command line or the settings cannot be used: nothing was copied

    - 130: Ctrl-C before the end; run it again
    """
    if source is target:
        raise _refused("--from and --to are the same", _UNUSABLE)
    from gateway.cli.event_log_copy import copy_log  # noqa: PLC0415 (see gateway.cli.app)

    try:
        copy_log(load(config_file), source, target)
    except SettingsError as error:
        for mistake in error.mistakes:
            tell(mistake)
        raise typer.Exit(_UNUSABLE) from error
    except GatewayError as error:
        raise _refused(f"{error.message} Run it again: it goes on where it was.", _FAILED) from error
    except KeyboardInterrupt:
        raise _refused("broken off. Run it again: it goes on where it was.", _INTERRUPTED) from None


def tell(text: str) -> None:
    """Write one line to standard error, without characters that could steer a terminal."""
    line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))
    typer.echo(f"d1-gateway: {line}", err=True)


def _refused(text: str, status: int) -> typer.Exit:
    tell(text)
    return typer.Exit(status)
