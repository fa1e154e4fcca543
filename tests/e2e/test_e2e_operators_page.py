"""The operators' page of a real gateway, in a real browser: Debian's Chromium."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from playwright.async_api import Browser, Page, expect

from gateway.operators.page import _MAX_AGE_SECONDS
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.common.ports import free_ports
from sandbox.d1.model.notification import Notification
from sandbox.gateway import GatewayConfig, GatewayProcess
from sandbox.handler import Handler
from tests.callback_replies import reject
from tests.e2e.browsing import violations
from tests.e2e.watching import connect
from tests.running import edge_session, notification_path

_POLL_MS = 5_000
_HOSTILE = "</code><img src=x onerror=document.title='caught'><script>document.title='caught'</script>"


@pytest.fixture(scope="module")
async def watched(shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that keeps its admin port when it starts again."""
    folder = tmp_path_factory.mktemp("gateway")
    (port,) = free_ports(1)
    config = replace(GatewayConfig.of(shared_sandbox, folder), more={"admin": {"port": port}})
    async with await GatewayProcess.start(config, folder) as running:
        shared_sandbox.set_edge(running.edge)
        yield running


@dataclass(frozen=True, slots=True)
class Shown:
    """The page in a tab of its own, whose clock the test turns."""

    page: Page
    complaints: list[str]
    """What the browser says in its console: errors, and what the Content-Security-Policy forbids."""

    async def refreshed(self) -> None:
        """Let the time pass after which the page asks the gateway again, which by then has made a new one."""
        await asyncio.sleep(_MAX_AGE_SECONDS)
        await self.page.clock.fast_forward(_POLL_MS)

    async def violations(self) -> list[str]:
        """Return what is not accessible, at either size and in either scheme."""
        return await violations(self.page)

    async def is_within(self, width: int) -> bool:
        """Return whether nothing is wider than the screen."""
        await self.page.set_viewport_size({"width": width, "height": 900})
        return bool(await self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@asynccontextmanager
async def shown(browser: Browser, gateway: GatewayProcess) -> AsyncIterator[Shown]:
    async with await browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.clock.install()
        await page.goto(gateway.admin)
        yield Shown(page, complaints)


async def test_a_failed_call_and_a_failed_callback_appear_by_their_correlation_id_and_as_nothing_but_text(
    browser: Browser, shared_sandbox: Sandbox, watched: GatewayProcess
) -> None:
    async with (
        shown(browser, watched) as tab,
        connect(watched.grpc, shared_sandbox.pki) as channel,
        edge_session(shared_sandbox) as d1,
    ):
        request = card.SuspendCardRequest(card_id="card_unknown")
        with pytest.raises(grpc.aio.AioRpcError):
            await CardServiceStub(channel).SuspendCard(request, metadata=[("x-correlation-id", "seen-by-eyes")])
        headers = {"x-correlation-id": _HOSTILE}
        async with d1.post(watched.edge + notification_path("card_1"), json={}, headers=headers) as response:
            assert response.status == 400
        await tab.refreshed()

        failures = tab.page.locator("#failures tr")
        await expect(failures.filter(has_text="seen-by-eyes")).to_contain_text("SuspendCard")
        await expect(failures.filter(has_text="onerror").locator("code")).to_have_text(_HOSTILE)
        await expect(tab.page.locator("#calls tr").filter(has_text="SuspendCard")).to_contain_text("1")
        await expect(tab.page).to_have_title(
            "Ready · " + await tab.page.locator(".host").inner_text() + " · d1-gateway"
        )
        assert "card_unknown" not in await tab.page.content()
        assert tab.complaints == []


async def test_what_is_connected_appears_and_anyone_can_read_it(
    browser: Browser, shared_sandbox: Sandbox, watched: GatewayProcess
) -> None:
    async with shown(browser, watched) as tab, connect(watched.grpc, shared_sandbox.pki) as channel:
        watch = NotificationServiceStub(channel).WatchNotifications(
            notification.WatchNotificationsRequest(subscription="ledger")
        )
        await watch.read()
        await shared_sandbox.notifier.deliver(Notification("card_1", "op_1", datetime.now(UTC)))
        async with Handler.connect(channel, {"deliver_otp": reject}, name="otp-service"):
            await tab.refreshed()

            ledger = tab.page.locator("#subscriptions tr").filter(has_text="ledger")
            await expect(ledger).to_contain_text("active")
            await expect(ledger.locator("td.number")).to_have_text("1")
            await expect(tab.page.locator("#handlers tr").filter(has_text="otp-service")).to_contain_text("0 of 16")
            await expect(tab.page.locator("#circuits")).to_contain_text("closed")
            await expect(tab.page.locator("#chart-notifications")).to_contain_text("1 stored")
            assert await tab.violations() == []
            assert await tab.is_within(390)
            assert await tab.is_within(1280)
        watch.cancel()


async def test_the_page_says_that_the_gateway_is_lost_and_since_when_and_recovers_with_it(
    browser: Browser, watched: GatewayProcess
) -> None:
    async with shown(browser, watched) as tab:
        said = tab.page.get_by_role("status")
        await expect(said).to_be_empty()
        await tab.page.keyboard.press("Tab")
        await watched.kill()
        await tab.refreshed()
        await expect(said).to_contain_text("No answer from the gateway since")
        await expect(tab.page).to_have_title(re.compile("^No answer · "))
        assert await tab.violations() == []

        await watched.restart()
        await tab.refreshed()
        await expect(said).to_contain_text("The gateway answers again. It did not for")
        await expect(said).to_contain_text("It has restarted")
        await expect(tab.page.locator("#handlers")).to_contain_text("No handler is connected")
        await expect(tab.page.locator("#failures")).to_contain_text("Nothing has failed since the start.")
        await expect(tab.page.get_by_role("link", name="Skip to the content")).to_be_focused()


async def test_without_scripts_the_page_says_why_a_gateway_is_not_ready(
    browser: Browser, shared_sandbox: Sandbox, tmp_path: Path
) -> None:
    config = GatewayConfig.of(shared_sandbox, tmp_path)
    async with (
        await GatewayProcess.start(config, tmp_path) as gateway,
        await browser.new_context(java_script_enabled=False) as context,
        await context.new_page() as page,
    ):
        with closing(sqlite3.connect(config.event_log, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await page.goto(gateway.admin)
            await expect(page.locator("header")).to_contain_text("Not ready")
            await expect(page.locator("#attention li").first).to_contain_text("event log write")
            await expect(page.locator("noscript meta[http-equiv=refresh]")).to_have_count(1)
