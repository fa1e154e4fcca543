"""The sandbox's console in a real browser: a person makes everything happen with clicks and typing, and sees it."""

import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from playwright.async_api import Browser, expect

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.common.pki import Identity
from sandbox.common.ports import free_ports
from sandbox.console.gateway import CHANNEL_OPTIONS
from sandbox.d1.acs.purchase import Flow
from sandbox.gateway import credentials
from sandbox.handler import Handler
from tests.e2e.browsing import violations
from tests.e2e.consoles import opened, playing_until_interrupted
from tests.e2e.playing import Playing, playing

_OTP = re.compile(r"\b\d{6}\b")
_ENDS = {
    Flow.FRICTIONLESS: "frictionless",
    Flow.SMS_OTP: "challenge otp sms",
    Flow.SMS_OTP_ISSUER: "challenge otp sms",
    Flow.OOB: "challenge oob",
    Flow.OOB_ISSUER: "challenge oob issuer",
}
_ASKED = {
    Flow.SMS_OTP: "getConsumerInformation",
    Flow.SMS_OTP_ISSUER: "deliverOtp",
    Flow.OOB_ISSUER: "authenticateConsumer",
}


@pytest.fixture(scope="module")
async def sandbox_of_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Playing]:
    async with playing_until_interrupted(tmp_path_factory.mktemp("console")) as started_once:
        yield started_once


@pytest.mark.parametrize("flow", Flow)
async def test_a_person_completes_each_flow_and_sees_its_notification_and_its_sequence(
    flow: Flow, browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        merchant = f"Shop of {flow}"
        await tab.buy(flow, merchant)
        if flow in {Flow.SMS_OTP, Flow.SMS_OTP_ISSUER}:
            asked = tab.page.locator("#phone form").filter(has_text=merchant)
            await expect(asked).to_contain_text("EUR 12.34")
            [otp, *_] = _OTP.findall(
                await tab.page.locator("#phone .item").filter(has_text="SMS to").first.inner_text()
            )
            await expect(tab.page.locator("#phone time").first).to_have_attribute("aria-live", "off")
            await asked.get_by_label("OTP").fill("1")
            await asked.get_by_role("button", name="Confirm").click()
            await expect(asked).to_contain_text("Type the digits of the OTP.")
            await asked.get_by_label("OTP").fill(str((int(otp) + 1) % 10**6).zfill(6))
            await asked.get_by_role("button", name="Confirm").click()
            await expect(asked).to_contain_text("That is not the OTP. 2 attempts are left.")
            await asked.get_by_label("OTP").fill(otp)
            await tab.page.keyboard.press("Enter")
        elif flow is not Flow.FRICTIONLESS:
            asked = tab.page.locator("#phone .item").filter(has_text=merchant)
            await asked.get_by_role("button", name="Approve").click()

        await expect(tab.purchase(merchant)).to_contain_text("successful")
        await expect(tab.rows("notifications").first).to_contain_text(_ENDS[flow])
        await expect(tab.steps.filter(has_text="Merchant to D1").first).to_contain_text(f"purchase, {flow}")
        await expect(tab.steps.filter(has_text="Edge to Log")).to_contain_text("stored")
        await expect(tab.steps.filter(has_text="Log to Watcher")).to_contain_text("notification")
        if flow in _ASKED:
            await expect(tab.steps.filter(has_text="D1 to Edge").first).to_contain_text(_ASKED[flow])
            await expect(tab.steps.filter(has_text="Broker to Handler").first).to_contain_text("passed on, after")
            await expect(tab.steps.filter(has_text="Handler to Broker").first).to_contain_text("reply, after")
            await expect(tab.steps.filter(has_text="Broker to Edge").first).to_contain_text("broker, after")
        await expect(tab.page.locator("#sequence svg")).to_be_visible()
        assert tab.complaints == []


async def test_nobody_answers_and_the_page_says_why_the_purchase_failed(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab, opened(browser, sandbox_of_all) as other:
        await other.page.get_by_label("Merchant").fill("Half a na")
        box = tab.page.get_by_label("deliver_otp")
        await box.uncheck()
        await expect(other.page.get_by_label("deliver_otp")).not_to_be_checked()
        await expect(tab.page.locator("#kind-deliver_otp")).to_contain_text("not connected")
        await tab.buy(Flow.SMS_OTP_ISSUER, "Nobody's")

        await expect(tab.purchase("Nobody's")).to_contain_text("failed")
        await expect(tab.page.locator("#sequence")).to_contain_text("Failed: deliverOtp got HTTP 500")
        await expect(tab.steps.filter(has_text="Broker to Edge")).to_contain_text("no handler: fallback")
        await expect(tab.steps.last).to_have_text(re.compile(r"^1\d\.\d s: Log to Watcher"))
        await expect(tab.rows("calls").first).to_contain_text("no handler, fallback")
        await expect(other.purchase("Nobody's")).to_contain_text("failed")
        await expect(other.page.get_by_label("Merchant")).to_have_value("Half a na")
        await box.check()
        await expect(tab.page.locator("#kind-deliver_otp .state")).to_have_text("connected")


async def test_the_shop_says_what_is_wrong_beside_the_field_and_sends_nothing(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        sent: list[str] = []
        tab.page.on("request", lambda request: sent.append(request.method))
        await tab.buy(Flow.FRICTIONLESS, " ", amount="12.345")

        await expect(tab.page.locator("#shop-amount-said")).to_have_text("This currency has at most 2 decimals.")
        await expect(tab.page.locator("#shop-merchant-said")).to_have_text("Name the merchant.")
        await expect(tab.page.get_by_label("Amount")).to_be_focused()
        red = await tab.page.locator("#shop-amount-said").evaluate("said => getComputedStyle(said).color")
        await expect(tab.page.get_by_label("Amount")).to_have_css("border-color", red)
        assert await violations(tab.page) == []
        assert await tab.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert "POST" not in sent


async def test_a_fault_is_met_shown_and_cleared_and_the_log_tells_of_it(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        page = tab.page
        form, active = page.locator("#fault"), page.locator("#faults")
        await form.get_by_label("Later by").fill("-1")
        await form.get_by_role("button", name="Add").click()
        await expect(page.locator("#fault-latency-said")).to_have_text("0 to 60,000.")
        await expect(form.get_by_label("Later by")).to_be_focused()
        await form.get_by_label("Later by").fill("0")
        await form.get_by_label("Call", exact=True).select_option("suspendCard")
        await form.get_by_label("What happens").select_option("404")
        await form.get_by_role("button", name="Add").click()
        await expect(active).to_contain_text("HTTP 404, once")
        await page.get_by_role("button", name="Suspend card_1").click()
        said = page.locator("#cards-said")
        await expect(said).to_contain_text("(UPSTREAM_NOT_FOUND). D1 has rejected it.")
        await expect(active).to_contain_text("None is active.")

        [correlation_id] = re.findall("Correlation id ([0-9a-f]+)", await said.inner_text())
        await page.get_by_label("Lines that contain").fill(correlation_id)
        await expect(page.locator("#log li").first).to_contain_text("SuspendCard")
        await form.get_by_label("Call", exact=True).select_option("preauth")
        await form.get_by_label("What happens").select_option("403")
        await form.get_by_role("button", name="Add").click()
        await expect(active).to_contain_text("HTTP 403, once")
        await page.get_by_role("button", name="Authenticate").click()
        said = page.locator("#authenticate-said")
        await expect(said).to_contain_text(
            re.compile(r"[^.] \(UPSTREAM_\w+\)\. The 3-D Secure server has rejected it\.")
        )
        await form.get_by_label("Call", exact=True).select_option("notify3dsOperation")
        await form.get_by_label("What happens").select_option("for_good")
        await form.get_by_label("Number of calls").fill("3")
        await form.get_by_role("button", name="Add").click()
        await expect(active).to_contain_text("never sent, 3 times")
        await form.get_by_label("Or for").fill("4000")
        await form.get_by_role("button", name="Add").click()
        await expect(page.locator("#fault-seconds-said")).to_have_text("1 to 3,600.")
        await form.get_by_label("Or for").fill("3600")
        await form.get_by_role("button", name="Add").click()
        await expect(active).to_contain_text("never sent, for 3600 s")
        await active.get_by_role("button", name="Clear all").click()
        await expect(active).to_contain_text("None is active.")


@pytest.mark.parametrize(
    ("operation", "what", "flow", "reasons", "step"),
    [
        (
            "deliverOtp",
            "before",
            Flow.SMS_OTP_ISSUER,
            ["Failed: The connection to the edge broke", "Fault on demand: deliverOtp, dropped, nothing done."],
            "Edge to D1: no answer",
        ),
        (
            "handler.authenticate",
            "500",
            Flow.OOB_ISSUER,
            [
                "Failed: authenticateConsumer got HTTP 500",
                "Fault on demand: the handler of authenticate, refusal as HTTP 500.",
            ],
            "Handler to Broker: refusal",
        ),
    ],
)
async def test_a_fault_makes_a_purchase_fail_and_the_page_says_why(
    operation: str,
    what: str,
    flow: Flow,
    reasons: list[str],
    step: str,
    browser: Browser,
    sandbox_of_all: Playing,
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        form, active = tab.page.locator("#fault"), tab.page.locator("#faults")
        await form.get_by_label("Call", exact=True).select_option(operation)
        await form.get_by_label("What happens").select_option(what)
        await form.get_by_role("button", name="Add").click()
        await expect(active).to_contain_text(operation)
        await tab.buy(flow, f"Unlucky {step[:4]}")

        await expect(tab.purchase(f"Unlucky {step[:4]}")).to_contain_text("failed")
        for reason in reasons:
            await expect(tab.page.locator("#sequence")).to_contain_text(reason)
        await expect(tab.steps.filter(has_text=step)).to_have_count(1)
        await expect(active).to_contain_text("None is active.")
        await tab.buy(flow, f"Later {step[:4]}")
        await expect(tab.purchase(f"Later {step[:4]}")).to_contain_text("waits for")
        assert tab.complaints == []


async def test_a_handler_of_ones_own_is_named_in_the_picture_and_among_the_callbacks(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    files, address = sandbox_of_all.facts["files"], sandbox_of_all.facts["addresses"]["grpc"]
    caller = Identity(Path(files["caller_certificate"]), Path(files["caller_key"]))
    trusted = credentials(Path(files["server_ca"]), caller)

    async def deliver(_: callback.CallbackRequest) -> callback.CallbackReply:
        return callback.CallbackReply(deliver_otp=replies.DeliverOtpResponse())

    await sandbox_of_all.control("DELETE", "handler/deliver_otp")
    async with (
        grpc.aio.secure_channel(address, trusted) as channel,
        Handler.connect(channel, {"deliver_otp": deliver}, name="my-otp-sender"),
        opened(browser, sandbox_of_all) as tab,
    ):
        await tab.buy(Flow.SMS_OTP_ISSUER, "Sent by myself")
        await expect(tab.steps.filter(has_text="Handler to Edge")).to_contain_text("reply of my-otp-sender, after")
        # Beside it, D1 may still ask for the result of an earlier test's authentication.
        await expect(tab.rows("calls").filter(has_text="my-otp-sender")).to_have_count(1)
    await sandbox_of_all.control("POST", "handler")


async def test_a_burst_of_notifications_is_counted_and_the_page_stays_quick(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        await sandbox_of_all.control("POST", "notifications", cardId="card_1", count=1000, delay_ms=0)
        await expect(tab.page.locator("#notifications-total")).to_contain_text(re.compile(r"50 latest of 1,\d{3}"))
        assert await tab.rows("notifications").count() == 50
        began = time.monotonic()
        await tab.buy(Flow.FRICTIONLESS, "Quick")
        await expect(tab.purchase("Quick")).to_contain_text("successful")
        assert time.monotonic() - began < 5


async def test_while_the_console_pauses_the_gateway_gathers_notifications_into_a_batch(
    sandbox_of_all: Playing,
) -> None:
    facts = sandbox_of_all.facts
    files = {name: Path(file) for name, file in facts["files"].items()}
    caller = credentials(files["server_ca"], Identity(files["caller_certificate"], files["caller_key"]))
    async with grpc.aio.secure_channel(facts["addresses"]["grpc"], caller, CHANNEL_OPTIONS) as channel:
        watch = NotificationServiceStub(channel).WatchNotifications(notification.WatchNotificationsRequest())
        await watch.read()
        await sandbox_of_all.control("POST", "notifications", cardId="card_1", count=60)
        sizes: list[int] = []
        while sum(sizes) < 60:
            batch = await watch.read()
            assert isinstance(batch, notification.WatchNotificationsResponse)
            sizes.append(len(batch.notifications))
        watch.cancel()
    assert len(sizes) < 20, sizes


async def test_what_is_stopped_shows_as_stopped_and_recovers(browser: Browser, tmp_path: Path) -> None:
    base = free_ports(6)[0]
    async with playing(tmp_path, port_base=base) as first, opened(browser, first) as tab:
        said = tab.page.locator("#link")
        [gateway] = _children(first.process.pid)
        os.kill(gateway, signal.SIGKILL)
        await expect(said).to_contain_text("The gateway is stopped.")
        await expect(said).to_contain_text("The gateway is back")
        first.process.kill()
        await first.process.wait()
        await expect(said).to_contain_text("The sandbox stopped at")
        await expect(tab.page).to_have_title(re.compile("^Sandbox stopped · "))
        assert await violations(tab.page) == []

        async with playing(tmp_path, port_base=base):
            await expect(said).to_contain_text("The sandbox is back.")
            await tab.buy(Flow.FRICTIONLESS, "Again")
            await expect(tab.purchase("Again")).to_contain_text("successful")


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
