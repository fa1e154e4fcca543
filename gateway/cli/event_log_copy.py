"""Copies the event log, and shows how it goes and what came of it."""

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
from gateway.cli.output import tell
from gateway.notifications.copy import Copied, EventLogCopy, Progress
from gateway.ports import Engine
from gateway.settings import Settings

__all__ = ["Display", "copy_log", "display"]

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


def copy_log(settings: Settings, source: Engine, target: Engine) -> None:
    """Copy what the source has and the target has not.

    Raises:
        SettingsError: An engine is not configured, or cannot be opened.
        GatewayError: An engine failed midway.
    """
    logs.configure("error")
    with display() as shown:
        copied, seconds = uvloop.run(_copy(settings, source, target, shown))
    _tell_shortcomings(copied)
    typer.echo(_summary(copied, seconds))


async def _copy(settings: Settings, source: Engine, target: Engine, shown: Display) -> tuple[Copied, float]:
    async with opened(settings, source, target) as (first, second):
        began = time.monotonic()
        keep_from_ms = oldest_kept_ms(settings, target, time.time_ns() // 1_000_000)
        copied = await EventLogCopy(first, second, keep_from_ms=keep_from_ms, report=shown.show).run()
        return copied, time.monotonic() - began


def _tell_shortcomings(copied: Copied) -> None:
    if copied.behind:
        names = ", ".join(f"{each.name} of {each.issuer_id}" for each in copied.behind)
        tell(f"not all that these subscriptions have not committed is still kept: {names}")
    if not copied.is_exact:
        tell("the target holds notifications of its own among these: watchers may be given some again")
    if copied.newer:
        tell(f"{copied.newer} notifications came meanwhile: run it again once nobody takes any there")


def _summary(copied: Copied, seconds: float) -> str:
    progress = copied.progress
    too_old = f", {progress.too_old} were too old to be kept" if progress.too_old else ""
    return (
        f"copied {progress.copied} notifications, {progress.earlier + progress.present} were there already{too_old}; "
        f"{copied.subscriptions} subscriptions; {seconds:.1f} s, {progress.seen / seconds:.0f} notifications/s"
    )
