"""Shared by the commands: the settings option, messages on standard error, exit statuses."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.settings import FILE_VARIABLE, Settings, SettingsError, load
from gateway.settings.schema import ENVIRONMENT_PREFIX

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "SIGNALLED",
    "UNUSABLE",
    "ConfigFile",
    "failed",
    "load_settings",
    "printable",
    "report",
    "say",
    "utc",
]

FAILED = 1
UNUSABLE = 2
"""The command line or the settings cannot be used."""
SIGNALLED = 128
"""Plus the number of the signal that ended the command, as shells have it."""
INTERRUPTED = 130

_NO_FILE = (
    f"no settings file is given: name one with --config FILE or {FILE_VARIABLE}; "
    "`d1-gateway config init --shape embedded FILE` writes one to begin with"
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar=FILE_VARIABLE, help="TOML file with the gateway's settings.", dir_okay=False),
]


def printable(line: str) -> str:
    """Return a line without characters that could control a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


def say(line: str) -> None:
    """Write a line to standard output, without characters that could control a terminal."""
    typer.echo(printable(line))


def report(text: str) -> None:
    """Write a line to standard error, without characters that could control a terminal."""
    typer.echo(f"d1-gateway: {printable(' '.join(text.split()))}", err=True)


def utc(time_ms: int) -> str:
    """Return a time, given in milliseconds since 1970 (UTC), as in ``2026-11-30T12:00:00Z``."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def failed(status: int, *messages: str) -> typer.Exit:
    """Report messages, and return the exit to raise."""
    for message in messages:
        report(message)
    return typer.Exit(status)


def load_settings(config_file: Path | None) -> Settings:
    """Load the settings.

    Raises:
        Exit: They cannot be used; every mistake was reported.
    """
    try:
        return load(config_file)
    except SettingsError as error:
        if config_file is not None:
            raise failed(UNUSABLE, *error.mistakes) from error
        # Without any setting, what is missing is the file.
        mistakes = error.mistakes if any(name.startswith(ENVIRONMENT_PREFIX) for name in os.environ) else []
        raise failed(UNUSABLE, *mistakes, _NO_FILE) from error
