"""Cards in the sandbox's console: each form, what is wrong with it, and what the gateway says."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.browsing import violations
from tests.e2e.consoles import opened, playing_until_interrupted
from tests.e2e.playing import Playing


@pytest.fixture(scope="module")
async def sandbox_of_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Playing]:
    async with playing_until_interrupted(tmp_path_factory.mktemp("console")) as started_once:
        yield started_once


async def test_a_card_is_registered_suspended_and_resumed_through_the_gateway_and_errors_say_why(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        page = tab.page
        form, card = page.locator("#register"), page.locator("#card-card_of_eyes")
        pan = await form.get_by_label("Card number").input_value()
        await form.get_by_label("Card id").fill("card of eyes")
        await form.get_by_role("button", name="Register").click()
        await expect(form.locator("#register-card_id-said")).to_have_text("1 to 48 letters, digits, _ or -.")
        await form.get_by_label("Card id").fill("card_of_eyes")
        await form.get_by_role("button", name="Register").click()
        await expect(form.locator("#register-said")).to_have_text("card_of_eyes is registered.")
        await expect(card).to_contain_text("active")
        await page.get_by_role("button", name="Suspend card_of_eyes").click()
        await expect(card).to_contain_text("suspended")
        await page.get_by_role("button", name="Resume card_of_eyes").click()
        await expect(card).to_contain_text("active")

        await sandbox_of_all.call("CardService/SuspendCard", card_id="card_of_eyes", reason_code="CARD_STOLEN")
        await page.get_by_role("button", name="Resume card_of_eyes").click()
        await expect(page.locator("#cards-said")).to_contain_text("(UPSTREAM_FORBIDDEN). D1 has rejected it.")
        # What the form lets through, the gateway still checks.
        wrong: dict[str, Any] = {"card_id": "card_of_eyes_2", "consumer_id": "consumer_1", "card_product_id": "light"}
        wrong["credentials"] = {"pan": "497", "expiry": {"month": 12, "year": 2031}}
        await page.route("**/RegisterCard", lambda route: route.continue_(post_data=wrong))
        await form.get_by_role("button", name="Register").click()
        await expect(form.locator("#register-said")).to_contain_text("(INVALID_REQUEST). Nothing was sent to D1.")
        await expect(form.locator("#register-pan-said")).not_to_be_empty()
        for rpc, body, status in (("TouchCard", {}, 404), ("SuspendCard", {"card_id": 4970101234567}, 400)):
            answered = await page.request.post(f"{page.url}console/cards/{rpc}", data=body)
            assert (answered.status, "4970101234567" in await answered.text()) == (status, False)
        await page.get_by_role("button", name="History card_1").click()
        await expect(page.locator("#history")).to_contain_text("3DS operations of card_1")
        assert pan not in await page.content()
        assert [each for each in tab.complaints if "422" not in each] == []


async def test_d1_creates_a_card_and_the_form_says_why_not(browser: Browser, sandbox_of_all: Playing) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        page, creation = tab.page, tab.page.locator("#create")
        await page.get_by_text("Or let D1 create a card").click()
        await creation.get_by_label("Consumer id").fill("nobody")
        await creation.get_by_label("Account number").fill("")
        await creation.get_by_role("button", name="Create").click()
        await expect(creation.locator("#create-number-said")).to_have_text("1 to 64 characters.")
        await creation.get_by_label("Account number").fill("0004711")
        await creation.get_by_role("button", name="Create").click()
        await expect(creation.locator("#create-said")).to_contain_text("(UPSTREAM_NOT_FOUND). D1 has rejected it.")
        await creation.get_by_label("Consumer id").fill("consumer_1")
        await creation.get_by_role("button", name="Create").click()
        await expect(creation.locator("#create-said")).to_contain_text("D1 has created crd_")
        [made] = re.findall("crd_[a-z2-7]+", await creation.inner_text())
        await expect(page.locator(f"#card-{made}")).to_contain_text("active")
        assert [each for each in tab.complaints if "422" not in each] == []


async def test_cards_are_renewed_replaced_and_deleted_and_each_form_says_what_is_wrong(
    browser: Browser, sandbox_of_all: Playing
) -> None:
    async with opened(browser, sandbox_of_all) as tab:
        page, change, said = tab.page, tab.page.locator("#change"), tab.page.locator("#cards-said")
        await page.get_by_role("button", name="Renew card_2").click()
        await expect(change.get_by_label("Reason")).to_be_focused()
        await change.get_by_label("New card id").fill("card 9")
        await change.get_by_label("Card number").fill("4970109876543210")
        await change.get_by_role("button", name="Renew").click()
        await expect(change.locator("#change-new_card_id-said")).to_contain_text("At most 48 letters")
        await change.get_by_label("New card id").fill("card_9")
        await change.get_by_role("button", name="Renew").click()
        await expect(change.locator("#change-expiry-said")).to_contain_text("Both or neither.")
        assert await violations(page) == []
        await page.set_viewport_size({"width": 1280, "height": 900})
        await change.get_by_label("Expiry").fill("12/2033")
        await change.get_by_role("button", name="Renew").click()
        await expect(change.locator("#change-said")).to_contain_text("D1 has rejected it.")
        await change.get_by_label("Card number").fill("")
        await change.get_by_label("Expiry").fill("")
        await change.get_by_label("Expiry").press("Enter")
        await expect(said).to_have_text("card_2 is renewed.")
        await expect(page.locator("#card-card_9")).to_contain_text("active")
        await expect(page.locator("#card-card_2")).to_have_count(0)
        await expect(page.locator("#card-card_9")).not_to_contain_text("asks for its number")

        await page.get_by_role("button", name="Replace card_9").click()
        await change.get_by_label("Reason").select_option("FRAUD")
        await change.get_by_label("New card id").fill("card_2")
        await change.get_by_role("button", name="Replace").click()
        await expect(said).to_have_text("card_9 is replaced.")
        await expect(page.locator("#card-card_9")).to_contain_text("replaced")
        await page.get_by_role("button", name="Delete card_2").click()
        await page.keyboard.press("Escape")
        await expect(change).to_be_hidden()
        await expect(page.get_by_role("button", name="Delete card_2")).to_be_focused()
        await page.keyboard.press("Enter")
        await change.get_by_label("Reason").select_option("CLOSED_ACCOUNT")
        await change.get_by_role("button", name="Delete").click()
        await expect(page.locator("#card-card_2")).to_contain_text("deleted")
        assert [each for each in tab.complaints if "422" not in each] == []
