"""What the commands share: the option that names the settings, messages on standard error, exit statuses."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.settings import FILE_VARIABLE, Settings, SettingsError, load

__all__ = ["FAILED", "INTERRUPTED", "UNUSABLE", "ConfigFile", "load_settings", "refused", "tell"]

FAILED = 1
UNUSABLE = 2
"""The command line or the settings cannot be used."""
INTERRUPTED = 130

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar=FILE_VARIABLE, help="TOML file with the gateway's settings.", dir_okay=False),
]


def tell(text: str) -> None:
    """Write one line to standard error, without characters that could steer a terminal."""
    line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))
    typer.echo(f"d1-gateway: {line}", err=True)


def refused(status: int, *messages: str) -> typer.Exit:
    """Write messages, and return the exit that follows them."""
    for message in messages:
        tell(message)
    return typer.Exit(status)


def load_settings(config_file: Path | None) -> Settings:
    """Load the settings.

    Raises:
        Exit: They cannot be used; every mistake was written.
    """
    try:
        return load(config_file)
    except SettingsError as error:
        raise refused(UNUSABLE, *error.mistakes) from error
