"""The demonstration in the sandbox's console: the same steps, announced in the page, at a pace that eyes follow."""

import asyncio
from dataclasses import asdict, replace
from typing import Any, Final

from rich.console import Console

from sandbox.console.console import Console as Page
from sandbox.console.gateway import CHANNEL_OPTIONS, Gateway
from sandbox.demo.sights import Sight
from sandbox.demo.steps import Steps, StepsToCome
from sandbox.demo.walk import addresses, staged, walk
from sandbox.gateway import channel

__all__ = ["Guide", "GuidedSteps", "NobodyWatchesError"]

_OPEN_SECONDS: Final = 300.0


class NobodyWatchesError(Exception):
    """The console was not opened, or closed for too long. The text says what to do."""


class Guide:
    """Walks the demonstration for a person who has the console open."""

    def __init__(self, terminal: Console, *, pace_seconds: float) -> None:
        """Walk nothing yet; `walk` does.

        Args:
            terminal: The console to print to.
            pace_seconds: How long each step can be seen, in seconds, beside what it takes itself.
        """
        self._terminal = terminal
        self._pace_seconds = pace_seconds
        self.passed: bool | None = None
        """Whether all steps passed; None before the end of the last one."""

    async def walk(self) -> None:
        """Run all steps, then keep everything running until cancelled.

        Raises:
            NobodyWatchesError: No page is open, for too long.
        """
        async with staged(Steps(self._terminal)) as stage:
            sandbox, gateway = stage.sandbox, stage.gateway
            _say(self._terminal, f"console at {sandbox.control_url}/\n{addresses(stage)}")
            shown = {"grpc": gateway.grpc, "edge": gateway.edge, "admin": gateway.admin}
            async with (
                channel(gateway.grpc, sandbox.pki, CHANNEL_OPTIONS) as watching,
                sandbox.console.connected(Gateway(watching, gateway.log, shown)),
            ):
                to_come = StepsToCome()
                await walk(replace(stage, steps=to_come))
                steps = GuidedSteps(self._terminal, sandbox.console, to_come.number, self._pace_seconds)
                await walk(replace(stage, steps=steps))
                # The last step stopped it.
                await gateway.restart()
                await watching.channel_ready()
                steps.summary()
                self.passed = steps.failed == 0
                _say(self._terminal, "The console stays open, to try things out. Ctrl-C ends it.")
                await asyncio.Event().wait()


class GuidedSteps(Steps):
    """Steps that are announced in the page, and run while one is open."""

    def __init__(
        self, terminal: Console, page: Page, number: int, pace_seconds: float, open_seconds: float = _OPEN_SECONDS
    ) -> None:
        """Start without steps.

        Args:
            terminal: The console to print to.
            page: The sandbox's console.
            number: How many steps there will be.
            pace_seconds: How long each can be seen, in seconds: half of it before, and half after.
            open_seconds: How long to wait until a page is open, in seconds.
        """
        super().__init__(terminal)
        self._terminal = terminal
        self._page = page
        self._number = number
        self._pace_seconds = pace_seconds
        self._open_seconds = open_seconds
        self._caption: dict[str, Any] = {}
        self._failures: list[dict[str, str]] = []

    async def glance(self) -> None:
        """Leave a person the time to see what the running step has brought about so far."""
        await asyncio.sleep(self._pace_seconds)

    def summary(self) -> None:
        """Print the summary, and show it in the page."""
        super().summary()
        self._show(verdict="over", section="")

    async def _begin(self, name: str, see: Sight | None) -> None:
        await self._until_open()
        place = self.passed + self.failed + 1
        _say(self._terminal, f"{place} of {self._number}: {name}{'' if see is None else f'; see {see.name}'}")
        self._show(
            verdict="running",
            place=place,
            number=self._number,
            part=self._part,
            step=name,
            result="",
            **({"section": ""} if see is None else asdict(see)),
        )
        await asyncio.sleep(self._pace_seconds / 2)

    async def _end(self, verdict: str, name: str, began: float, result: str) -> None:
        await super()._end(verdict, name, began, result)
        if verdict == "failed":
            self._failures.append({"step": name, "result": result})
        self._show(verdict=verdict, result=result)
        await asyncio.sleep(self._pace_seconds / 2)

    def _show(self, **changed: Any) -> None:
        self._caption |= changed | {"passed": self.passed, "failures": self._failures}
        self._page.caption(self._caption)

    async def _until_open(self) -> None:
        if self._page.is_open:
            return
        _say(self._terminal, "The demonstration goes on as soon as the console is open in a browser.")
        try:
            async with asyncio.timeout(self._open_seconds):
                await self._page.opened()
        except TimeoutError:
            raise NobodyWatchesError(
                f"nobody had the console open for {self._open_seconds:.0f} s: start again, and open its address"
            ) from None


def _say(terminal: Console, text: str) -> None:
    terminal.print(text, markup=False, highlight=False, soft_wrap=True)
