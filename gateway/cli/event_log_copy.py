"""Copies the event log; reports progress and result."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from gateway.bootstrap import logging as logs
from gateway.bootstrap.event_log_copy import oldest_kept_ms, opened
from gateway.cli.output import report
from gateway.notifications.copy import Copied, EventLogCopy, Progress
from gateway.ports import Engine
from gateway.settings import Settings

__all__ = ["Display", "copy_log", "display"]

_LINE_SECONDS: Final = 5.0


class Display(AbstractContextManager["Display"], Protocol):
    """Shows the progress of a copy for as long as the context lasts."""

    def show(self, progress: Progress) -> None:
        """Show the progress."""
        ...


def display() -> Display:
    """Return a progress bar for a terminal, lines otherwise."""
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
        self._started = self._last_shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the lines."""

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self._last_shown + self._pause_seconds:
            return
        self._last_shown = now
        rate = progress.seen / (now - self._started)
        left = "" if not rate else f", {(progress.expected - progress.seen) / rate:.0f} s left"
        typer.echo(f"d1-gateway: {progress.seen} of {progress.expected} notifications, {rate:.0f}/s{left}", err=True)


def copy_log(settings: Settings, source: Engine, target: Engine) -> None:
    """Copy what the target does not have yet.

    Raises:
        SettingsError: An engine is not configured, or cannot be opened.
        GatewayError: An engine failed midway.
    """
    logs.configure("error")
    with display() as progress_display:
        copied, seconds = uvloop.run(_copy(settings, source, target, progress_display))
    _report_shortcomings(copied)
    typer.echo(_summary(copied, seconds))


async def _copy(settings: Settings, source: Engine, target: Engine, progress_display: Display) -> tuple[Copied, float]:
    async with opened(settings, source, target) as (first, second):
        started = time.monotonic()
        keep_from_ms = oldest_kept_ms(settings, target, time.time_ns() // 1_000_000)
        copied = await EventLogCopy(first, second, keep_from_ms=keep_from_ms, report=progress_display.show).run()
        return copied, time.monotonic() - started


def _report_shortcomings(copied: Copied) -> None:
    if copied.behind:
        names = ", ".join(f"{each.name} of {each.issuer_id}" for each in copied.behind)
        report(f"retention has removed notifications that these subscriptions have not committed: {names}")
    if copied.damaged:
        sequences = ", ".join(map(str, copied.damaged))
        report(f"these notifications are damaged, and were left out; nobody else is told: {sequences}")
    if not copied.is_exact:
        report("the target holds other notifications among these: watchers may receive some again")
    if copied.newer:
        report(f"{copied.newer} notifications arrived meanwhile: run it again once the source receives no more")


def _summary(copied: Copied, seconds: float) -> str:
    progress = copied.progress
    too_old = f", {progress.too_old} were too old to keep" if progress.too_old else ""
    return (
        f"copied {progress.copied} notifications, {progress.earlier + progress.present} already present{too_old}; "
        f"{copied.subscriptions} subscriptions; {seconds:.1f} s, {progress.seen / seconds:.0f} notifications/s"
    )
