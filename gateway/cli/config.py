"""``d1-gateway config``: writes, describes and checks settings."""

import errno
import os
from pathlib import Path
from stat import S_IMODE
from typing import Annotated

import orjson
import typer
import uvloop

from gateway.cli.output import FAILED, UNUSABLE, ConfigFile, failed, load_settings, report, say
from gateway.settings import Settings, SettingsError
from gateway.settings.dump import effective
from gateway.settings.schema import schema
from gateway.settings.shapes import Shape, settings_file
from gateway.tls.key_generation import NewFile, write_new

__all__ = ["app"]

app = typer.Typer(help="Write, describe and check the settings.", no_args_is_help=True)


@app.command()
def init(
    file: Annotated[
        Path | None, typer.Argument(help="File to write. Standard output if omitted.", dir_okay=False)
    ] = None,
    *,
    shape: Annotated[Shape, typer.Option(help="How the gateway is deployed.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented settings file to begin with.

    Exit status:

    - 0: it is written

    - 1: it cannot be written; nothing is left of it, and with --force the former file stays as it was

    - 2: the command line cannot be used, or the file exists; nothing was changed
    """
    text = settings_file(shape)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        if force and file.exists():
            _replace(file.resolve(), text.encode())
        else:
            write_new(NewFile(file, text.encode(), private=False))
    except FileExistsError as error:
        raise failed(UNUSABLE, f"{file} exists already; --force overwrites it") from error
    except OSError as error:
        raise failed(FAILED, f"{file}: {error.strerror}") from error


def _replace(file: Path, content: bytes) -> None:
    """Replace a file at once, so that the former one stays if the disk is full. Owner and mode stay."""
    if not file.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    former, unfinished = file.stat(), file.with_name(f"{file.name}.part")
    unfinished.unlink(missing_ok=True)
    write_new(NewFile(unfinished, content, private=True))
    try:
        os.chown(unfinished, former.st_uid, former.st_gid)
        unfinished.chmod(S_IMODE(former.st_mode))
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema (draft 2020-12) of the settings file, for editors."""
    typer.echo(orjson.dumps(schema(Settings), option=orjson.OPT_INDENT_2).decode())


@app.command()
def check(
    config_file: ConfigFile = None,
    *,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Then try what they name: D1, 3-D Secure server, NATS, JWKS URL, OTLP endpoint."
        ),
    ] = False,
) -> None:
    """Print the effective settings with secrets masked, or every mistake with its place.

    With --connect, print one line for each connection instead: whether it can
    be used, or why not and what to do. An access token is fetched from D1;
    nothing is changed anywhere.

    Exit status:

    - 0: the settings, and with --connect all connections, can be used

    - 1: a connection cannot be used

    - 2: the settings cannot be used
    """
    from gateway import bootstrap  # noqa: PLC0415 (see gateway.cli.app)

    settings = load_settings(config_file)
    try:
        warnings = bootstrap.check(settings)
    except SettingsError as error:
        raise failed(UNUSABLE, *error.mistakes) from error
    for warning in warnings:
        report(f"warning: {warning}")
    if not connect:
        typer.echo(effective(settings))
    elif not _connect(settings):
        raise typer.Exit(FAILED)


def _connect(settings: Settings) -> bool:
    """Try all connections, and print how that went. Returns whether all can be used."""
    from gateway.bootstrap import logging as logs  # noqa: PLC0415 (see gateway.cli.app)
    from gateway.bootstrap.trials import tried  # noqa: PLC0415 (see gateway.cli.app)

    # What the log would say is in the lines.
    logs.configure("critical")
    trials = uvloop.run(tried(settings))
    for trial in trials:
        failure = trial.failure
        said = "ok" if failure is None else f"FAILED: {failure.why}; {failure.advice}"
        say(f"{trial.what}: {said}")
    return not any(trial.failure for trial in trials)
