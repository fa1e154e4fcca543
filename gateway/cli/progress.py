"""The progress of a copy: a bar on a terminal, a line now and then elsewhere."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from gateway.notifications.copy import Progress

__all__ = ["Display", "display"]

_LINE_SECONDS: Final = 5.0


class Display(AbstractContextManager["Display"], Protocol):
    """Shows how far a copy has come, for as long as the context lasts."""

    def show(self, progress: Progress) -> None:
        """Show that it has come so far."""
        ...


def display() -> Display:
    """Choose what fits standard error."""
    console = Console(stderr=True)
    return _Bar(console) if console.is_terminal else _Lines()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


class _Bar:
    def __init__(self, console: Console) -> None:
        columns = (TextColumn("copying"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bar = RichProgress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        self._bar.update(self._task, total=progress.expected, completed=progress.seen)


class _Lines:
    def __init__(self, pause_seconds: float = _LINE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._begin = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what was written."""

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self._told + self._pause_seconds:
            return
        self._told = now
        rate = progress.seen / (now - self._begin)
        left = "" if not rate else f", {(progress.expected - progress.seen) / rate:.0f} s left"
        typer.echo(f"d1-gateway: {progress.seen} of {progress.expected} notifications, {rate:.0f}/s{left}", err=True)
