"""``d1-gateway log``: manages the event log."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.aio.signals import ending_as_interrupted
from gateway.cli.output import FAILED, INTERRUPTED, SIGNALLED, UNUSABLE, ConfigFile, failed, load_settings
from gateway.errors import GatewayError
from gateway.ports import BackupDamagedError, BackupFailedError, BackupUnusableError, Engine
from gateway.settings import SettingsError

__all__ = ["app"]

app = typer.Typer(help="Manage the event log.", no_args_is_help=True)

_MAX_SEQUENCE: Final = 2**63 - 1

Source = Annotated[Engine, typer.Option("--from", help="Engine to copy from.")]
Target = Annotated[Engine, typer.Option("--to", help="Engine to copy to.")]


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The backup to make.", dir_okay=False)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is a backup.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Back up the event log into one file, while gateways run.

    The file has its name only once it is complete and on disk. Its last line says what it is, with a digest. The key
    file of the idempotency records is not in it.

    Exit status:

    - 0: the backup is made

    - 1: it failed midway, for example on a full disk; nothing is left of it

    - 2: the command line or the settings cannot be used, the file exists (with --force: and is no
      backup), or the event log cannot be opened

    - 130, 143, 129: interrupted by Ctrl-C, SIGTERM or SIGHUP; nothing is left of it
    """
    from gateway.cli.event_log_backup import back_up_log  # noqa: PLC0415 (see gateway.cli.app)

    with _failing():
        back_up_log(load_settings(config_file), file, overwrites=force)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.", dir_okay=False)],
    *,
    keep_epoch: Annotated[
        bool,
        typer.Option("--keep-epoch", help="Cursors stay valid. Only if nothing was stored after the backup."),
    ] = False,
    config_file: ConfigFile = None,
) -> None:
    """Put a backup in the place of the event log, and give it a new epoch.

    First stop all gateways. A former event log is kept, under another name beside it. With NATS, nats.prefix must be
    one without an event log.

    Exit status:

    - 0: the event log is restored

    - 1: the backup is damaged, or it failed midway; the former event log is in its place, and with NATS the command
      can be run again

    - 2: the command line or the settings cannot be used, the file is no backup that this version can use, or a gateway
      uses the event log; nothing was changed

    - 130, 143, 129: interrupted by Ctrl-C, SIGTERM or SIGHUP; as 1
    """
    from gateway.cli.event_log_backup import restore_log  # noqa: PLC0415 (see gateway.cli.app)

    with _failing():
        settings = load_settings(config_file)
        if keep_epoch and settings.nats is not None:
            raise failed(UNUSABLE, "--keep-epoch: a log that is restored into NATS always has a new epoch")
        restore_log(settings, file, keeps_epoch=keep_epoch)


@app.command()
def stat(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Print what is in the event log, while gateways run: epoch, size, ages, subscriptions with their lag.

    Exit status:

    - 0: printed

    - 1: the engine failed

    - 2: the settings cannot be used, or the event log cannot be opened
    """
    from gateway.cli.event_log_upkeep import show_statistics  # noqa: PLC0415 (see gateway.cli.app)

    with _failing():
        show_statistics(load_settings(config_file), as_json=json)


@app.command()
def trim(
    *,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Remove what is older: an age such as 30d, or a time such as 2026-11-01T00:00Z."
        ),
    ] = None,
    through: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Remove what is up to this cursor, inclusive.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove also what subscriptions have not committed.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Remove the oldest notifications, before retention does.

    First stop the gateway that uses the file; with NATS, the gateways may run.

    Exit status:

    - 0: they are removed, or there are none

    - 1: subscriptions need some of them, or the cursor is not of this event log, and nothing was removed; or the engine
      failed midway

    - 2: the command line or the settings cannot be used, or the event log cannot be opened

    - 130: interrupted by Ctrl-C; some of them may be removed
    """
    from gateway.cli.event_log_upkeep import trim_log  # noqa: PLC0415 (see gateway.cli.app)

    with _failing():
        trim_log(load_settings(config_file), before, through, is_dry=dry_run, forces=force)


@app.command("new-epoch")
def new_epoch(config_file: ConfigFile = None) -> None:
    """Give the event log a new epoch, after its file or its streams were restored by other means.

    Cursors of the former epoch are refused from then on. First stop the gateway that uses the file; with NATS, stop
    all gateways before the streams are restored.

    Exit status:

    - 0: it has a new epoch

    - 1: the engine failed; run it again

    - 2: the settings cannot be used, or the event log cannot be opened
    """
    from gateway.cli.event_log_upkeep import renew_epoch  # noqa: PLC0415 (see gateway.cli.app)

    with _failing():
        renew_epoch(load_settings(config_file))


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="A backup. Omitted: the event log itself.", dir_okay=False)
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    """Read everything in the event log, or in a backup, and list what is damaged. Gateways may run.

    A file of an older version is migrated first; for that, no gateway may use it.

    Exit status:

    - 0: nothing is damaged, or only what was skipped

    - 1: something is damaged, or the engine failed midway

    - 2: the settings cannot be used, the event log cannot be opened, or the file is no backup

    - 130: interrupted by Ctrl-C
    """
    from gateway.cli.event_log_check import check_file, check_log  # noqa: PLC0415 (see gateway.cli.app)

    with _failing():
        is_intact = check_log(load_settings(config_file)) if file is None else check_file(file)
    if not is_intact:
        raise typer.Exit(FAILED)


@app.command()
def skip(
    sequence: Annotated[
        int, typer.Argument(min=1, max=_MAX_SEQUENCE, help="Sequence of the notification, as log check lists it.")
    ],
    config_file: ConfigFile = None,
) -> None:
    """Let watchers go on without a damaged notification.

    Those before it are told, by CURSOR_EXPIRED with the cursor behind it. The gateway then reads the history of the
    active cards around its time, unless [backfill] is disabled. First stop the gateway that uses the file; with NATS,
    the gateways may run.

    Exit status:

    - 0: the notification is skipped

    - 1: it is not damaged, or the engine failed

    - 2: the command line or the settings cannot be used, or the event log cannot be opened
    """
    from gateway.cli.event_log_check import skip_event  # noqa: PLC0415 (see gateway.cli.app)

    with _failing():
        is_skipped = skip_event(load_settings(config_file), sequence)
    if not is_skipped:
        raise failed(FAILED, f"notification {sequence} is not damaged: nothing was changed")
    typer.echo(f"notification {sequence} is skipped")


@contextmanager
def _failing() -> Iterator[None]:
    with ending_as_interrupted() as signals:
        try:
            yield
        except SettingsError as error:
            raise failed(UNUSABLE, *error.mistakes) from error
        except BackupUnusableError as error:
            raise failed(UNUSABLE, str(error)) from error
        except (BackupDamagedError, BackupFailedError) as error:
            raise failed(FAILED, str(error)) from error
        except GatewayError as error:
            raise failed(FAILED, error.message) from error
        except KeyboardInterrupt:
            raise failed(SIGNALLED + signals[0] if signals else INTERRUPTED, "interrupted") from None


@app.command()
def copy(*, source: Source, target: Target, config_file: ConfigFile = None) -> None:
    """Copy notifications and the cursors of subscriptions from one engine to the other.

    The settings name both: the file as event_log.path, and the NATS servers. First stop the gateway that uses the file.
    The copy can be interrupted and repeated: it resumes where it stopped.

    Exit status:

    - 0: everything was copied

    - 1: an engine failed midway; run the command again

    - 2: the command line or the settings cannot be used; nothing was copied

    - 130: interrupted by Ctrl-C; run the command again
    """
    if source is target:
        raise failed(UNUSABLE, "--from and --to are the same")
    from gateway.cli.event_log_copy import copy_log  # noqa: PLC0415 (see gateway.cli.app)

    try:
        copy_log(load_settings(config_file), source, target)
    except SettingsError as error:
        raise failed(UNUSABLE, *error.mistakes) from error
    except GatewayError as error:
        raise failed(FAILED, f"{error.message} Run it again: it resumes where it stopped.") from error
    except KeyboardInterrupt:
        raise failed(INTERRUPTED, "interrupted. Run it again: it resumes where it stopped.") from None
