"""``d1-gateway log``: the event log as a whole."""

import time
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from gateway import logs
from gateway.bootstrap_copy import Engine, oldest_kept_ms, opened
from gateway.commands.copying import Display, display
from gateway.commands.telling import FAILED, INTERRUPTED, UNUSABLE, put, refused, tell
from gateway.errors import GatewayError
from gateway.log_copy import Copied, LogCopy
from gateway.settings import FILE_VARIABLE, Settings, SettingsError, load

__all__ = ["app"]

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
        raise refused("--from and --to are the same")
    logs.configure("error")
    try:
        with display() as shown:
            copied, seconds = uvloop.run(_copy(load(config_file), source, target, shown))
    except SettingsError as error:
        for mistake in error.mistakes:
            tell(mistake)
        raise typer.Exit(UNUSABLE) from error
    except GatewayError as error:
        raise refused(f"{error.message} Run it again: it goes on where it was.", FAILED) from error
    except KeyboardInterrupt:
        raise refused("broken off. Run it again: it goes on where it was.", INTERRUPTED) from None
    _tell_shortcomings(copied)
    put(_summary(copied, seconds))


async def _copy(settings: Settings, source: Engine, target: Engine, shown: Display) -> tuple[Copied, float]:
    async with opened(settings, source, target) as (first, second):
        began = time.monotonic()
        keep_from_ms = oldest_kept_ms(settings, target, time.time_ns() // 1_000_000)
        copied = await LogCopy(first, second, keep_from_ms=keep_from_ms, tell=shown.show).run()
        return copied, time.monotonic() - began


def _tell_shortcomings(copied: Copied) -> None:
    if copied.behind:
        names = ", ".join(f"{each.name} of {each.issuer_id}" for each in copied.behind)
        tell(f"not all that these subscriptions have not committed is still kept: {names}")
    if not copied.is_exact:
        tell("the target holds notifications of its own among these: watchers may be given some again")
    if copied.newer:
        tell(f"{copied.newer} notifications came meanwhile: run it again once nobody takes any there")


def _summary(copied: Copied, seconds: float) -> str:
    progress = copied.progress
    too_old = f", {progress.too_old} were too old to be kept" if progress.too_old else ""
    return (
        f"copied {progress.copied} notifications, {progress.earlier + progress.present} were there already{too_old}; "
        f"{copied.subscriptions} subscriptions; {seconds:.1f} s, {progress.seen / seconds:.0f} notifications/s"
    )
