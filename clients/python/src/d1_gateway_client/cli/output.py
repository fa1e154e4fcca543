"""The output of the commands, and one line for each mistake."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

__all__ = ["FAILED", "INTERRUPTED", "UNUSABLE", "logged_to_stderr", "one_line", "put", "refused", "tell"]

FAILED = 1
"""The exit status of a call that failed."""
UNUSABLE = 2
"""The exit status of an invalid command line or input: nothing was sent."""
INTERRUPTED = 130
"""The exit status after Ctrl-C before the end."""


def put(text: str) -> None:
    """Write to standard output at once.

    Raises:
        typer.Exit: The reader is gone (without a message, status 0), or the output cannot be written.
    """
    try:
        # Escapes the characters that the terminal's encoding lacks.
        sys.stdout.buffer.write(f"{text}\n".encode(sys.stdout.encoding, "backslashreplace"))
        sys.stdout.buffer.flush()
    except OSError as error:
        # Otherwise Python flushes again at its end, and prints an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit from None
        raise refused(f"standard output: {error.strerror}", FAILED) from None


def tell(text: str) -> None:
    """Write one line to standard error."""
    # The stream by name, not `err`, which writes past a bar that stands there.
    typer.echo(f"d1-gateway-client: {one_line(text)}", file=sys.stderr)


def refused(text: str, status: int = UNUSABLE) -> typer.Exit:
    """Say in one line why the command ends, and return the exception that ends it."""
    tell(text)
    return typer.Exit(status)


@contextmanager
def logged_to_stderr() -> Iterator[None]:
    """Write what the client logs, such as a reconnect, to standard error for as long as the context lasts."""
    handler = _StandardError()
    log = logging.getLogger("d1_gateway_client")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _StandardError(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


def one_line(text: str) -> str:
    """Replace the characters that could control a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))
