"""``d1-gateway config``: writes, describes and checks settings."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from gateway.cli.output import FAILED, UNUSABLE, ConfigFile, failed, load_settings, report
from gateway.settings import Settings, SettingsError
from gateway.settings.dump import effective
from gateway.settings.schema import schema
from gateway.settings.shapes import Shape, settings_file

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
    """Write a commented settings file to begin with."""
    text = settings_file(shape)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise failed(FAILED, f"{file} exists already; --force overwrites it") from error
    except OSError as error:
        raise failed(FAILED, f"{file}: {error.strerror}") from error


@app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema (draft 2020-12) of the settings file, for editors."""
    typer.echo(orjson.dumps(schema(Settings), option=orjson.OPT_INDENT_2).decode())


@app.command()
def check(config_file: ConfigFile = None) -> None:
    """Print the effective settings with secrets masked, or every mistake with its place."""
    from gateway import bootstrap  # noqa: PLC0415 (see gateway.cli.app)

    settings = load_settings(config_file)
    try:
        warnings = bootstrap.check(settings)
    except SettingsError as error:
        raise failed(UNUSABLE, *error.mistakes) from error
    for warning in warnings:
        report(f"warning: {warning}")
    typer.echo(effective(settings))
