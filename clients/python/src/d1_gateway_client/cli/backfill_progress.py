"""How far a backfill is: a bar at a terminal, lines elsewhere. Both are on standard error."""

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from d1_gateway_client.cli.output import put, tell
from d1_gateway_client.contracts.issuer.notification.v1 import BackfillPause, CardBackfill

__all__ = ["Display", "Tally", "display"]

_RATE_SECONDS: Final = 60.0
"""The time over which the rate is measured."""
_LINE_SECONDS: Final = 10.0


@dataclass(slots=True)
class Tally:
    """The counts of a backfill, over all its runs."""

    total: int
    """The number of cards."""
    done: int = 0
    failed: int = 0
    """The cards that failed in this run."""
    recovered: int = 0
    differing: int = 0
    unusable: int = 0
    has_begun: bool = False
    """Whether anything has happened in this run."""
    clock: Callable[[], float] = time.monotonic
    _begin: float = field(init=False)
    _ends: deque[float] = field(default_factory=deque, init=False)
    """When the cards of the last minute were finished."""
    _pause: BackfillPause | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._begin = self.clock()

    @property
    def finished(self) -> int:
        """The number of cards that are done or failed."""
        return self.done + self.failed

    def take(self, card: CardBackfill) -> None:
        """Count a card."""
        self.has_begun = True
        self._pause = None
        self._ends.append(self.clock())
        if card.error is None:
            self.done += 1
        else:
            self.failed += 1
        self.recovered += card.recovered_count
        self.differing += card.differing_count
        self.unusable += card.unusable_count

    def pause(self, pause: BackfillPause) -> None:
        """Note the start of a pause."""
        self.has_begun = True
        self._pause = pause

    def in_words(self) -> str:
        """Return how far it is: cards, rate, time left, counts, and the present pause."""
        rate = self._cards_per_second()
        left = timedelta(seconds=round((self.total - self.finished) / rate)) if rate else "?"
        words = f"{self.finished}/{self.total} cards, {rate:.1f}/s, {left} left, {self.recovered} recovered"
        words += f", {self.failed} failed"
        if self._pause is not None and self._pause.resume_time is not None:
            seconds = (self._pause.resume_time - datetime.now(UTC)).total_seconds()
            words += f", paused for {max(0, round(seconds))} s: {self._pause.reason}"
        return words

    def summary(self) -> str:
        """Return what has become of the cards."""
        words = f"{self.done} of {self.total} cards done, {self.recovered} notifications recovered"
        if self.differing:
            words += f", {self.differing} of them in another state than the event log had"
        if self.unusable:
            words += f", {self.unusable} operations without a usable id"
        return f"{words}, {self.failed} failed" if self.failed else words

    def _cards_per_second(self) -> float:
        now = self.clock()
        while self._ends and self._ends[0] < now - _RATE_SECONDS:
            self._ends.popleft()
        elapsed = min(_RATE_SECONDS, now - self._begin)
        return len(self._ends) / elapsed if elapsed > 0 else 0.0


class Display(AbstractContextManager["Display"], Protocol):
    """Shows a tally for as long as the context lasts."""

    def update(self) -> None:
        """Show that something has changed."""

    def pause(self) -> None:
        """Show that a pause has begun."""

    def put(self, line: str) -> None:
        """Write a line to standard output."""


def display(tally: Tally) -> Display:
    """Return a bar if standard error is a terminal, and lines otherwise."""
    return _Bar(tally) if sys.stderr.isatty() else _Lines(tally)


class _Lines:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._due = tally.clock() + _LINE_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self) -> None:
        if self._tally.clock() >= self._due:
            self.pause()

    def pause(self) -> None:
        tell(self._tally.in_words())
        self._due = self._tally.clock() + _LINE_SECONDS

    def put(self, line: str) -> None:
        put(line)


class _Bar:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        columns = BarColumn(bar_width=20), _InWords(tally)
        self._progress = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, refresh_per_second=4)
        self._task = self._progress.add_task("", total=tally.total, completed=tally.finished)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self) -> None:
        self._progress.update(self._task, completed=self._tally.finished)

    def pause(self) -> None:
        self.update()

    def put(self, line: str) -> None:
        if sys.stdout.isatty():
            # Above the bar, which would be torn otherwise.
            self._progress.console.print(Text(line), soft_wrap=True)
        else:
            put(line)


class _InWords(ProgressColumn):
    """The tally in words; the end of a pause comes nearer while nothing happens."""

    max_refresh = 0.25

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def render(self, task: Task) -> Text:
        """Return the words."""
        del task
        return Text(self._tally.in_words())
