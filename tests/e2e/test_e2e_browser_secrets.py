"""No secret is in what a browser gets, sends or shows: the sandbox's console and the operators' page."""

import asyncio
import base64
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, Response, expect
from rich.console import Console

from sandbox.common.faults import Fault
from sandbox.console.gateway import CHANNEL_OPTIONS, Gateway
from sandbox.d1.acs.purchase import Flow
from sandbox.d1.model.contract import Operation
from sandbox.demo.stage import Stage
from sandbox.demo.steps import Steps
from sandbox.demo.walk import staged
from sandbox.gateway import channel
from tests.e2e.canary_values import JOSE, Canaries

_CARDS = {"card_seen": "4970108888888881", "card_unseen": "4970107777777772"}
_REPLACED = "4970105555555552"
_CARDS_OF_3DS = ("9000100111110103", "9000100111110113", "9000100111110172", "9000100111110182")
_AUTHENTICATION_VALUE = re.compile(r'authentication_?value"\s*:\s*"[a-z0-9+/]{27}=', re.IGNORECASE)
"""What a merchant gets for a frictionless authentication is kept nowhere: any is found by its form."""
_BASE64_JSON = re.compile(r"eyJ[\w-]{16,}")
_DOM = """() => {
  const written = (element) =>
    [element.outerHTML, ...[...element.querySelectorAll("input, select")].map((each) => each.value)].join("\\n");
  const sections = [...document.querySelectorAll("section, header, footer, aside, #link")];
  return [["", document.title], ...sections.map((each) => [each.getAttribute("aria-labelledby") ?? "", written(each)])];
}"""


class Medium(Enum):
    """A way by which something reaches a browser, or leaves it."""

    URL = auto()
    REQUEST = auto()
    """Headers and bodies."""
    RESPONSE = auto()
    EVENT = auto()
    """Server-sent events."""
    CONSOLE = auto()
    DOM = auto()
    """Elements with their attributes, and what fields contain."""


ON_PURPOSE = {
    ("OTP", Medium.EVENT, "sms"): "the phone's inbox",
    ("OTP", Medium.DOM, "phone-title"): "the same, and the field where it is typed",
    ("OTP", Medium.REQUEST, "otp"): "the cardholder types it",
    ("PAN typed", Medium.REQUEST, "RegisterCard"): "a person registers a card",
    ("PAN typed", Medium.REQUEST, "RenewCard"): "a person renews it",
    ("PAN typed", Medium.REQUEST, "ReplaceCard"): "a person replaces it",
    ("PAN typed", Medium.DOM, "cards-title"): "the field where it is typed",
    ("account number", Medium.REQUEST, "CreateCard"): "a person has D1 create a card",
    ("account number", Medium.DOM, "cards-title"): "the field where it is typed",
}
"""The secrets that are where they are seen by design, and why."""


class Seen:
    """Everything that a browser got, sent and showed, and the secrets to search for."""

    def __init__(self) -> None:
        self.canaries = Canaries()
        self._data: defaultdict[tuple[Medium, str], set[str]] = defaultdict(set)
        self._reading: list[asyncio.Task[None]] = []

    def add(self, medium: Medium, where: str, *data: str) -> None:
        self._data[medium, where].update(data)

    async def attach(self, page: Page) -> None:
        """Record from now on."""
        page.on("console", lambda message: self.add(Medium.CONSOLE, "", message.text))
        page.on("pageerror", lambda error: self.add(Medium.CONSOLE, "", str(error)))
        page.on("request", self._sent)
        page.on("response", lambda response: self._reading.append(asyncio.create_task(self._read(response))))
        session = await page.context.new_cdp_session(page)
        session.on("Network.eventSourceMessageReceived", self._told)
        await session.send("Network.enable")

    async def look(self, page: Page) -> None:
        """Record what the page shows now."""
        for section, written in await page.evaluate(_DOM):
            self.add(Medium.DOM, section, written)

    async def hits(self) -> set[tuple[str, Medium, str]]:
        """Return which secrets are in which medium, and where there."""
        await asyncio.gather(*self._reading)
        return {
            (re.sub(r"^(OTP|PAN typed) \d+$", r"\1", name), medium, where)
            for (medium, where), data in self._data.items()
            for each in data
            for name in self.names(each)
        }

    def names(self, data: str) -> set[str]:
        """Return which secrets are in some data."""
        found = {"authentication value"} if _AUTHENTICATION_VALUE.search(data) else set()
        # By EMV 3DS, the browser carries CReq and CRes: base64url of JSON, as the beginning of a JWT is.
        return found | self.canaries.hits(_BASE64_JSON.sub(_unless_3ds, data).encode())

    def media(self) -> set[Medium]:
        return {medium for medium, _ in self._data}

    def _sent(self, request: Request) -> None:
        where = urlsplit(request.url).path.rpartition("/")[2]
        self.add(Medium.URL, where, request.url)
        self.add(Medium.REQUEST, where, json.dumps(request.headers), request.post_data or "")

    async def _read(self, response: Response) -> None:
        headers = await response.all_headers()
        where = urlsplit(response.url).path.rpartition("/")[2]
        self.add(Medium.RESPONSE, where, json.dumps(headers))
        # A feed never ends: its events are recorded as they come.
        if response.status != 204 and not headers.get("content-type", "").startswith("text/event-stream"):
            self.add(Medium.RESPONSE, where, await response.text())

    def _told(self, message: dict[str, Any]) -> None:
        told = json.loads(message["data"])
        for topic, key, item in told.get("changes", []):
            self.add(Medium.EVENT, topic, json.dumps([key, item], ensure_ascii=False))


def _unless_3ds(found: re.Match[str]) -> str:
    text = found[0]
    try:
        content = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return text
    return "" if content.get("messageType") in {"CReq", "CRes"} else text


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    """A sandbox with a console, whose secrets the test can look up: in the gateway's way to D1 and back too."""
    async with staged(Steps(Console(quiet=True))) as stage:
        sandbox, gateway = stage.sandbox, stage.gateway
        addresses = {"grpc": gateway.grpc, "edge": gateway.edge, "admin": gateway.admin}
        async with (
            channel(gateway.grpc, sandbox.pki, CHANNEL_OPTIONS) as watching,
            sandbox.console.connected(Gateway(watching, gateway.log, addresses)),
        ):
            await sandbox.issuer.answer(sandbox.issuer.all_kinds)
            await sandbox.issuer.until_settled()
            yield stage


@asynccontextmanager
async def opened(browser: Browser, url: str, seen: Seen) -> AsyncIterator[Page]:
    async with await browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        await seen.attach(page)
        await page.goto(url)
        yield page
        await seen.look(page)


def hand_over_secrets(stage: Stage, seen: Seen) -> None:
    """Hand over every secret that the sandbox and the gateway have."""
    sandbox, canaries = stage.sandbox, seen.canaries
    for number, pan in enumerate([*_CARDS.values(), _REPLACED]):
        canaries.add(f"PAN typed {number}", pan)
    for number, pan in enumerate(_CARDS_OF_3DS):
        canaries.add(f"PAN of 3DS {number}", pan)
    for number, token in enumerate(sandbox.tokens._issued):
        canaries.add(f"token of D1 {number}", token)
    canaries.add("token of the edge", sandbox.edge._token)
    canaries.add("client secret of D1", "demo-client-secret")
    canaries.add("API key of the 3DS server", sandbox.threeds_api_key)
    for file in stage.gateway.log.parent.rglob("*"):
        if file.is_file() and file.read_bytes().startswith(b"-----BEGIN PRIVATE KEY"):
            canaries.add(f"key in {file.name}", "".join(file.read_text().splitlines()[1:-1]))
    canaries.add("key of the event log", stage.gateway.log.with_name("d1-gateway.db.key").read_bytes().hex())
    for number, message in enumerate(sandbox.phones.messages()):
        canaries.add(f"OTP {number}", message.otp)


async def _shop(page: Page, stage: Stage, seen: Seen) -> None:
    for flow in Flow:
        await page.get_by_label("Merchant").fill(f"Shop of {flow}")
        await page.get_by_label("How the cardholder").select_option(flow.value)
        await page.get_by_role("button", name="Buy").click()
        asked = page.locator("#phone .asks").filter(has_text=f"Shop of {flow}")
        if flow in {Flow.SMS_OTP, Flow.SMS_OTP_ISSUER}:
            await expect(asked).to_be_visible()
            await asked.get_by_label("OTP").fill(stage.sandbox.phones.messages()[-1].otp)
            await seen.look(page)
            await asked.get_by_role("button", name="Confirm").click()
        elif flow is not Flow.FRICTIONLESS:
            await asked.get_by_role("button", name="Approve").click()
        bought = page.locator("#purchases button").filter(has_text=f"Shop of {flow}")
        await expect(bought.locator(".state")).to_have_text("successful")
        await seen.look(page)


async def _register(page: Page, card_id: str, pan: str) -> None:
    form = page.locator("#register")
    await form.get_by_label("Card id").fill(card_id)
    await form.get_by_label("Card number").fill(pan)
    await form.get_by_role("button", name="Register").click()


async def _change_cards(page: Page, stage: Stage, seen: Seen) -> None:
    """Change a card well, and let D1 answer with secrets of its own and of ours."""
    card, said = page.locator("#card-card_seen"), page.locator("#cards-said")
    for action, state in {"Suspend": "suspended", "Resume": "active"}.items():
        await page.get_by_role("button", name=f"{action} card_seen").click()
        await expect(card.locator(".state")).to_have_text(state)
    await page.get_by_text("Or let D1 create a card").click()
    await page.locator("#create [name=number]").fill(seen.canaries["account number"])
    await page.locator("#create").get_by_role("button", name="Create").click()
    await expect(page.locator("#create-said")).to_contain_text("D1 has created")
    for action, pan in {"Renew": _CARDS["card_seen"], "Replace": _REPLACED, "Delete": ""}.items():
        await page.get_by_role("button", name=f"{action} card_seen").click()
        form = page.locator("#change")
        if pan:
            await form.locator("[name=pan]").fill(pan)
            await form.locator("[name=expiry]").fill("12/2033")
        await seen.look(page)
        await form.get_by_role("button", name=action).click()
        await expect(form).to_be_hidden()
    text = f"{_CARDS['card_unseen']} and {next(iter(stage.sandbox.tokens._issued))} are wrong"
    fault = Fault(operation=Operation.SUSPEND_CARD, status=404, body=json.dumps({"error": text}))
    stage.sandbox.faults.add(fault)
    await page.get_by_role("button", name="Suspend card_unseen").click()
    await expect(said).to_contain_text("UPSTREAM_NOT_FOUND")
    await page.get_by_role("button", name="History card_unseen").click()
    await expect(page.locator("#history")).to_contain_text("3DS operations of card_unseen")
    # The gateway refuses a number that it knows from another card.
    await _register(page, "card_again", _CARDS["card_seen"])
    await expect(page.locator("#register-said")).not_to_be_empty()
    await seen.look(page)


async def _authenticate(page: Page) -> None:
    shown = page.locator("#authentications .authentication")
    for number, (way, decision) in enumerate(
        {"frictionless": "", "refused": "", "challenge": "Confirm", "decoupled": "Fail"}.items(), 1
    ):
        await page.get_by_label("How it goes").select_option(way)
        await page.get_by_role("button", name="Authenticate").click()
        await expect(shown).to_have_count(number)
        if way == "challenge":
            frame = page.frame_locator("#challenges iframe")
            await frame.get_by_role("button", name=decision).press("Enter")
            await frame.get_by_role("button", name="Continue").click()
            await expect(frame.get_by_role("heading")).to_have_text("Back at the shop")
        elif decision:
            await shown.first.get_by_role("button", name=decision).click()
        await expect(shown.first.locator(".state")).to_contain_text("authenticated")
        await shown.first.locator("summary").first.click()


async def _break(page: Page) -> None:
    """Let nobody answer, and D1 fail, and look for it in the log."""
    await page.get_by_label("deliver_otp").uncheck()
    await expect(page.locator("#kind-deliver_otp")).to_contain_text("not connected")
    await page.get_by_label("Merchant").fill("Nobody's")
    await page.get_by_label("How the cardholder").select_option(Flow.SMS_OTP_ISSUER.value)
    await page.get_by_role("button", name="Buy").click()
    await expect(page.locator("#sequence")).to_contain_text("Failed: deliverOtp")
    await page.get_by_label("deliver_otp").check()
    await page.locator("#fault").get_by_role("button", name="Add").click()
    await page.get_by_role("button", name="Suspend card_unseen").click()
    await expect(page.locator("#cards-said")).to_contain_text("UNAVAILABLE")
    await page.get_by_role("button", name="Its log lines").click()
    await expect(page.locator("#log li").first).to_contain_text("outcome=no_handler")


async def test_no_secret_is_in_any_page_request_response_event_or_message(browser: Browser, stage: Stage) -> None:
    seen = Seen()
    async with opened(browser, stage.sandbox.control_url, seen) as page:
        await expect(page.locator("#gateway")).to_have_text("Gateway connected")
        for card_id, pan in _CARDS.items():
            await _register(page, card_id, pan)
            await seen.look(page)
            await expect(page.locator(f"#card-{card_id}")).to_contain_text("active")
        stage.sandbox.authenticators.enrol("consumer_1")
        await _shop(page, stage, seen)
        await _break(page)
        await _change_cards(page, stage, seen)
        await _authenticate(page)
    async with opened(browser, stage.gateway.admin, seen) as page:
        await expect(page.locator("#failures")).to_contain_text("SuspendCard")
    hand_over_secrets(stage, seen)

    assert seen.media() == set(Medium), "a medium of which nothing was recorded"
    assert await seen.hits() == set(ON_PURPOSE)


def test_an_authentication_value_or_a_token_would_be_found_and_a_creq_is_none() -> None:
    seen = Seen()
    for content, found in (({"messageType": "CReq", "acsTransID": "a"}, set()), ({"alg": "ES256", "kid": "a"}, {JOSE})):
        text = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
        assert seen.names(f'"creq":"{text}"') == found
    for text in ('"authentication_value": "' + 27 * "A" + '="', '"authenticationValue":"' + 27 * "A" + '="'):
        assert seen.names(text) == {"authentication value"}


async def test_a_secret_in_any_medium_would_be_found(browser: Browser, stage: Stage) -> None:
    seen = Seen()
    pan = seen.canaries["PAN"]
    async with opened(browser, stage.sandbox.control_url, seen) as page:
        await _register(page, "card_planted", "4970106666666663")
        await page.get_by_label("Merchant").fill(f"Shop {pan}")
        await page.get_by_label("Card", exact=True).select_option("card_planted")
        await page.get_by_role("button", name="Buy").click()
        await expect(page.locator("#purchases")).to_contain_text(pan)
        await page.evaluate("pan => console.log(pan)", pan)
        await page.evaluate("pan => fetch(`sandbox/purchases?pan=${pan}`).then((got) => got.text())", pan)

    assert {medium for name, medium, _ in await seen.hits() if name == "PAN"} == set(Medium)
