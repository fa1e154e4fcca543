"""Authentications through the 3-D Secure server in the sandbox's console, with the ACS's page on the phone."""

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.browsing import violations
from tests.e2e.consoles import opened, playing_until_interrupted
from tests.e2e.playing import Playing

_OTP = re.compile(r"\b\d{6}\b")


@pytest.fixture(scope="module")
async def sandbox_of_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Playing]:
    async with playing_until_interrupted(tmp_path_factory.mktemp("console")) as started_once:
        yield started_once


@pytest.mark.parametrize(("choice", "ends"), [("Confirm", "authenticated"), ("Refuse", "not authenticated")])
async def test_a_cardholder_decides_on_the_acss_own_page_and_the_gateway_has_the_result(
    choice: str, ends: str, browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        page, shown = tab.page, tab.page.locator("#authentications .authentication").first
        posts: list[str] = []
        page.on("request", lambda request: posts.append(f"{request.method} {urlsplit(request.url).path}"))
        await page.get_by_label("How it goes").select_option("challenge")
        await page.get_by_role("button", name="Authenticate").click()
        frame = page.frame_locator("#challenges iframe")
        await expect(frame.get_by_text("your card that ends in 0172")).to_be_visible()
        await expect(shown).to_contain_text("challenge")
        assert await violations(page) == []
        await frame.get_by_role("button", name=choice).press("Enter")
        await frame.get_by_role("button", name="Continue").click()
        await expect(frame.get_by_role("heading")).to_have_text("Back at the shop")

        await expect(shown.locator(".state")).to_have_text(ends)
        await shown.get_by_text("CRes and GetChallengeResult").click()
        status = "Y" if ends == "authenticated" else "N"
        cres, result = shown.locator("details[open] pre").first, shown.locator("details[open] pre").last
        await expect(cres).to_contain_text(f'"transStatus": "{status}"')
        await expect(result).to_contain_text(f'"transStatus": "TRANS_STATUS_{ends.upper().replace(" ", "_")}"')
        await expect(result).to_contain_text(re.compile('"authenticationValue": "••••"' if status == "Y" else "Reason"))
        paths = ["console/authentications", "acs/challenge", "acs/decision", "console/challenges/return"]
        assert [each for each in posts if each.startswith("POST")] == [f"POST /{path}" for path in paths]
        await page.get_by_role("button", name="Close").click()
        await expect(page.locator("#challenges iframe")).to_have_count(0)
        # It tried to post by itself; a browser without scripts asks.
        assert all("Blocked script execution" in each for each in tab.complaints), tab.complaints


async def test_a_cardholder_types_the_otp_from_the_sms_on_the_acss_page(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        page, shown = tab.page, tab.page.locator("#authentications .authentication").first
        await page.get_by_label("How it goes").select_option("otp")
        await page.get_by_role("button", name="Authenticate", exact=True).press("Enter")
        frame = page.frame_locator("#challenges iframe").first
        await frame.get_by_label("Code").fill("1")
        await frame.get_by_role("button", name="Confirm").click()
        await expect(frame.get_by_text("That is not the code. Attempts left: 2.")).to_be_visible()
        assert await violations(page) == []
        [otp, *_] = _OTP.findall(await page.locator("#phone .item").filter(has_text="SMS to").first.inner_text())
        await frame.get_by_label("Code").fill(otp)
        await frame.get_by_label("Code").press("Enter")
        await frame.get_by_role("button", name="Continue").press("Enter")
        await expect(frame.get_by_text("You are authenticated.")).to_be_visible()
        await expect(shown.locator(".state")).to_have_text("authenticated")

        # Another tab has no page to show, and decides in its place.
        await page.get_by_role("button", name="Authenticate", exact=True).click()
        await expect(page.locator("#challenges iframe")).to_have_count(2)
        await frame.get_by_label("Code").fill("1")
        async with opened(browser, sandbox_of_all) as other:
            # Those of other tests may wait for a decision, too.
            latest = other.page.locator("#authentications .authentication").first
            await latest.get_by_role("button", name="Fail", exact=True).click()
            # A tab that closes takes along what it has not sent yet.
            await expect(latest.locator(".state")).to_have_text("not authenticated")
        await expect(shown.locator(".state")).to_have_text("not authenticated")
        await frame.get_by_role("button", name="Confirm").click()
        await expect(frame.get_by_text("The challenge is over")).to_be_visible()


async def test_cardholders_are_authenticated_in_each_way_and_the_messages_are_shown_masked(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        shown = tab.page.locator("#authentications .authentication")
        ways = (("frictionless", "", "authenticated"), ("challenge", "Pass", "authenticated"))
        for way, decision, ends in (*ways, ("decoupled", "Fail", "not authenticated")):
            before = await shown.count()
            await tab.page.get_by_label("How it goes").select_option(way)
            await tab.page.get_by_role("button", name="Authenticate").click()
            await expect(shown).to_have_count(before + 1)
            if decision:
                await expect(shown.first).to_contain_text(way)
                await shown.first.get_by_role("button", name=decision).click()
            await expect(shown.first.locator(".state")).to_have_text(ends)
        await shown.first.get_by_text("AReq and ARes").click()
        await expect(shown.first.locator("pre").first).to_contain_text('"acctNumber": "••••0182"')
        await expect(shown.first.locator("pre").last).to_contain_text('"transStatus": "D"')
        assert "9000100111110182" not in await tab.page.content()
        url = f"{tab.page.url}console/authentications"
        answer = await (await tab.page.request.post(url, data={"way": "frictionless"})).json()
        assert answer["ares"].keys() == {"three_ds_server_trans_id", "trans_status"}, "the rest is the merchant's"
        assert await violations(tab.page) == []
        assert tab.complaints == []
