"""Steps of a demonstration: each is run, timed and printed as a row with its result."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
from rich.console import Console
from rich.markup import escape

from sandbox.demo.sights import Sight

__all__ = ["Steps", "StepsToCome", "UnexpectedError", "expect"]

_NAME_WIDTH = 52
_STEP_SECONDS = 30.0
"""In seconds. An election at NATS takes up to ten on a quiet machine, a gateway's start as long on a busy one."""


class UnexpectedError(Exception):
    """A step did not end as expected; the text says what happened instead."""


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 (reads as a sentence)
    """Check a condition.

    Raises:
        UnexpectedError: The condition is false.
    """
    if not condition:
        raise UnexpectedError(otherwise)


class Steps:
    """Runs steps one after the other and counts the results."""

    def __init__(self, console: Console) -> None:
        """Start without steps.

        Args:
            console: The console to print to.
        """
        self._console = console
        self._part = ""
        self._see: Sight | None = None
        self.passed = 0
        self.failed = 0

    def title(self, text: str, *, see: Sight | None = None) -> None:
        """Start a group of steps; the console shows what they do at a sight, unless a step has its own."""
        self._part, self._see = text, see
        self._console.print(f"\n[bold]{escape(text)}[/bold]", soft_wrap=True)

    async def glance(self) -> None:
        """Leave a person the time to see what the running step has brought about so far; none by default."""

    async def run(self, name: str, action: Callable[[], Awaitable[str]], *, see: Sight | None = None) -> None:
        """Run a step: it passes unless the action raises; the action returns its result."""
        await self._begin(name, see or self._see)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                result = await action()
        except Exception as error:  # A failed step does not stop the others.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # The demonstration is to end: an error of a step's cleanup must not hide that.
                raise asyncio.CancelledError from error
            self.failed += 1
            await self._end("failed", name, began, _describe(error))
        else:
            self.passed += 1
            await self._end("passed", name, began, result)

    def summary(self) -> None:
        """Print the summary."""
        self._console.print(f"\ndemo: {self.passed} steps passed, {self.failed} failed", style=None, highlight=False)

    async def _begin(self, name: str, see: Sight | None) -> None:
        """Announce a step; does nothing by default."""

    async def _end(self, verdict: str, name: str, began: float, result: str) -> None:
        """Print a step, ``passed`` or ``failed``."""
        milliseconds = (time.perf_counter() - began) * 1000
        colour = "green" if verdict == "passed" else "red"
        shown = (
            f"[{colour}]{verdict}[/{colour}]  {escape(name):<{_NAME_WIDTH}} {milliseconds:6.0f} ms  {escape(result)}"
        )
        self._console.print(shown, highlight=False, soft_wrap=True)


class StepsToCome(Steps):
    """Counts steps instead of running them."""

    def __init__(self) -> None:
        """Start without steps."""
        super().__init__(Console(quiet=True))
        self.number = 0
        """How many steps there are."""

    async def run(self, name: str, action: Callable[[], Awaitable[str]], *, see: Sight | None = None) -> None:
        """Count a step."""
        del name, action, see
        self.number += 1


def _describe(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) if isinstance(error, UnexpectedError) else f"{type(error).__name__} {error}"
