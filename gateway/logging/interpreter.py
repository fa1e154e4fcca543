"""What Python itself writes to standard error as text, as log lines: warnings, and exceptions that nobody catches."""

import logging
import sys
import threading
from types import TracebackType
from typing import Protocol

import structlog

__all__ = ["log_instead_of_printing"]

_log = structlog.get_logger(__name__)


def log_instead_of_printing() -> None:
    """Log what Python would print, from now on and in every thread."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable


class _Unraisable(Protocol):
    """The arguments of `sys.unraisablehook`."""

    @property
    def exc_value(self) -> BaseException | None: ...
    @property
    def err_msg(self) -> str | None: ...
    @property
    def object(self) -> object: ...


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("process_failed", exc_info=(kind, error, trace))


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_type is SystemExit:
        return
    name = "" if arguments.thread is None else arguments.thread.name
    _log.error("thread_failed", thread=name, exc_info=arguments.exc_value)


def _unraisable(arguments: _Unraisable) -> None:
    # The object itself is not printed: its text may hold anything.
    where = arguments.err_msg or f"in {type(arguments.object).__name__}"
    _log.error("exception_ignored", where=where, exc_info=arguments.exc_value)
