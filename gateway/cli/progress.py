"""Shows the progress of commands that take long: a bar on a terminal, a line now and then elsewhere."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

__all__ = ["MEBIBYTE", "NOTIFICATIONS", "Display", "display", "mebibytes"]

MEBIBYTE: Final = 1_048_576
NOTIFICATIONS: Final = "notifications"
_MEBIBYTES: Final = "MiB"
_LINE_SECONDS: Final = 5.0


class Display(AbstractContextManager["Display"], Protocol):
    """Shows progress for as long as the context lasts."""

    def show(self, done: int, total: int) -> None:
        """Show how much is done, and how much there is."""
        ...


def display(what: str, unit: str = NOTIFICATIONS) -> Display:
    """Return a progress bar for a terminal, lines otherwise."""
    console = Console(stderr=True)
    return _Bar(what, console) if console.is_terminal else _Lines(unit)


def mebibytes(what: str) -> Display:
    """Return the same for bytes, which are shown in MiB."""
    return _Scaled(display(what, _MEBIBYTES))


class _Scaled:
    def __init__(self, shown: Display) -> None:
        self._shown = shown

    def __enter__(self) -> Self:
        self._shown.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.__exit__(kind, error, trace)

    def show(self, done: int, total: int) -> None:
        self._shown.show(done // MEBIBYTE, -(-total // MEBIBYTE))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


class _Bar:
    def __init__(self, what: str, console: Console) -> None:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bar = RichProgress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        self._bar.update(self._task, total=total, completed=done)


class _Lines:
    def __init__(self, unit: str, pause_seconds: float = _LINE_SECONDS) -> None:
        self._unit = unit
        self._pause_seconds = pause_seconds
        self._started = self._last_shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the lines."""

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._last_shown + self._pause_seconds:
            return
        self._last_shown = now
        rate = done / (now - self._started)
        left = "" if not rate else f", {(total - done) / rate:.0f} s left"
        typer.echo(f"d1-gateway: {done} of {total} {self._unit}, {rate:.0f}/s{left}", err=True)
