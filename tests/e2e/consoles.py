"""The sandbox's console in a tab of a real browser."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Locator, Page, expect

from sandbox.d1.acs.purchase import Flow
from tests.e2e.command import Ended, ended
from tests.e2e.playing import Playing, playing

__all__ = ["Tab", "opened", "playing_until_interrupted"]


@asynccontextmanager
async def playing_until_interrupted(where: Path) -> AsyncIterator[Playing]:
    """Run a sandbox for the duration of the block, and make sure that Ctrl-C ends it without a word."""
    async with playing(where) as sandbox:
        yield sandbox
        sandbox.process.send_signal(signal.SIGINT)
        assert await ended(sandbox.process) == Ended(0, "", "")


@dataclass(frozen=True, slots=True)
class Tab:
    """The console in a tab of its own."""

    page: Page
    complaints: list[str]
    """What the browser says in its console: errors, and what the Content-Security-Policy forbids."""

    def rows(self, of: str) -> Locator:
        return self.page.locator(f"#{of} tbody tr")

    @property
    def steps(self) -> Locator:
        """The steps of the sequence that is shown."""
        return self.page.locator("#sequence li")

    async def buy(self, flow: Flow, merchant: str, amount: str = "12.34") -> None:
        page = self.page
        await page.get_by_label("Amount").fill(amount)
        await page.get_by_label("Merchant").fill(merchant)
        await page.get_by_label("How the cardholder").select_option(flow.value)
        await page.get_by_role("button", name="Buy").click()

    def purchase(self, merchant: str) -> Locator:
        return self.page.locator("#purchases button").filter(has_text=merchant)


@asynccontextmanager
async def opened(browser: Browser, sandbox: Playing) -> AsyncIterator[Tab]:
    async with await browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(sandbox.facts["addresses"]["control"])
        await expect(page.locator("#gateway")).to_have_text("Gateway connected")
        yield Tab(page, complaints)
