"""``d1-gateway log``: the event log as a whole."""

from typing import Annotated

import typer

from gateway.cli.output import FAILED, INTERRUPTED, UNUSABLE, ConfigFile, load_settings, refused
from gateway.errors import GatewayError
from gateway.ports import Engine
from gateway.settings import SettingsError

__all__ = ["app"]

app = typer.Typer(help="Manage the event log.", no_args_is_help=True)

Source = Annotated[Engine, typer.Option("--from", help="The one that is copied.")]
Target = Annotated[Engine, typer.Option("--to", help="The one that it is copied into.")]


@app.command()
def copy(*, source: Source, target: Target, config_file: ConfigFile = None) -> None:
    """Copy notifications and the cursors of subscriptions from one engine to the other.

    The settings name both: the file as event_log.path, and the NATS servers. Stop the gateway that uses the file
    first. It can be interrupted and repeated: it resumes where it was.

    Exit status:

    - 0: everything was copied

    - 1: it failed midway; run it again

    - 2: the command line or the settings cannot be used: nothing was copied

    - 130: Ctrl-C before the end; run it again
    """
    if source is target:
        raise refused(UNUSABLE, "--from and --to are the same")
    from gateway.cli.event_log_copy import copy_log  # noqa: PLC0415 (see gateway.cli.app)

    try:
        copy_log(load_settings(config_file), source, target)
    except SettingsError as error:
        raise refused(UNUSABLE, *error.mistakes) from error
    except GatewayError as error:
        raise refused(FAILED, f"{error.message} Run it again: it resumes where it was.") from error
    except KeyboardInterrupt:
        raise refused(INTERRUPTED, "interrupted. Run it again: it resumes where it was.") from None
