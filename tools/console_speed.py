"""Measures what the sandbox's console costs, and how soon it shows what happens.

``python -m tools.console_speed page`` measures first paint, the time from D1's 204 to a notification in the page, and
the longest tasks of the page during 10,000 notifications. ``calls --rate 50`` measures calls without a tab and with
one, in turns; ``--rate 0`` as many as there can be. ``notifications`` does the same with D1's notifications.

It needs Debian's Chromium (``apt-get install chromium``).
"""

import argparse
import asyncio
import itertools
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import orjson
from aiohttp import ClientSession
from playwright.async_api import Browser, Page, async_playwright

from bench.common.usage import cpu_seconds
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from sandbox.common.pki import Identity
from sandbox.gateway import credentials
from tools.console_pictures import running_sandbox
from tools.operators_page_pictures import CHROMIUM

_LOADS: Final = 10
_SHOWN: Final = 60
_PAUSE_SECONDS: Final = 0.15
_BURST: Final = 1_000
_BURSTS: Final = 10
_IN_FLIGHT: Final = 16
_CARDS: Final = 30
_SETTLING_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 10.0
_WATCH_ROWS: Final = """() => {
  window.seen = {};
  new MutationObserver(() => {
    const rows = [...document.querySelectorAll("#notifications tbody tr")].filter((row) => !(row.id in window.seen));
    for (const row of rows) {
      window.seen[row.id] = null;
    }
    // A frame is painted after its callbacks; the next message comes then.
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        for (const row of rows) {
          window.seen[row.id] = performance.timeOrigin + performance.now();
        }
      };
      port2.postMessage(null);
    });
  }).observe(document.getElementById("notifications"), { childList: true, subtree: true });
}"""
_WATCH_TASKS: Final = """() => {
  window.long = [];
  new PerformanceObserver((list) => window.long.push(...list.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask" });
}"""
_PAINT: Final = """() => new Promise((painted) =>
  new PerformanceObserver((list) => painted(list.getEntriesByName("first-contentful-paint")[0].startTime))
    .observe({ type: "paint", buffered: true }))"""


@dataclass(frozen=True, slots=True)
class _Stage:
    browser: Browser
    session: ClientSession
    control: str
    facts: dict[str, Any]

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Page]:
        async with await self.browser.new_page(viewport={"width": 1280, "height": 900}) as page:
            await page.goto(self.control)
            await page.get_by_text("Gateway connected").wait_for()
            yield page

    async def notify(self, count: int = 1) -> None:
        order = {"cardId": "card_1", "count": count}
        async with self.session.post("/sandbox/notifications", json=order) as response:
            await response.read()


@asynccontextmanager
async def _staged() -> AsyncIterator[_Stage]:
    async with running_sandbox() as folder, async_playwright() as playwright:
        facts = orjson.loads((folder / "sandbox.json").read_bytes())
        control = facts["addresses"]["control"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        async with ClientSession(control, raise_for_status=True) as session:
            yield _Stage(browser, session, control, facts)
        await browser.close()


async def _page() -> None:
    async with _staged() as stage:
        await _measure_paint(stage)
        async with stage.tab() as page:
            await _measure_notifications(stage, page)
            await _measure_many(stage, page)


async def _measure_paint(stage: _Stage) -> None:
    paints = []
    for _ in range(_LOADS):
        async with stage.tab() as page:
            paints.append(await page.evaluate(_PAINT))
    _say_spread("first paint", paints)


async def _measure_notifications(stage: _Stage, page: Page) -> None:
    await page.evaluate(_WATCH_ROWS)
    began = time.time()
    for _ in range(_SHOWN):
        await stage.notify()
        await asyncio.sleep(_PAUSE_SECONDS)
    seen = await page.evaluate("window.seen")
    items = await _items(stage)
    accepted = {
        each["correlation_id"]: each["began"] * 1000 + each["milliseconds"]
        for each in items["calls"]
        if each["status"] == 204 and each["began"] >= began  # noqa: PLR2004 (HTTP)
    }
    shown = {each["correlationId"]: seen.get(f"notification-{each['cursor']}") for each in items["notifications"]}
    _say_spread("from the 204 to the page", [shown[each] - at for each, at in accepted.items()])


async def _measure_many(stage: _Stage, page: Page) -> None:
    await page.evaluate(_WATCH_TASKS)
    began = time.monotonic()
    for _ in range(_BURSTS):
        await stage.notify(_BURST)
    took = time.monotonic() - began
    total = page.locator("#notifications-total").filter(has_text=re.compile(rf"of {_BURST * _BURSTS // 1_000},\d+"))
    await total.wait_for()
    rows = await page.locator("#notifications tbody tr").count()
    tasks = await page.evaluate("window.long")
    _say(f"{_BURST * _BURSTS} notifications in {took:.1f} s, rows: {rows}; tasks of more than 50 ms: {len(tasks)}")
    if tasks:
        _say_spread("these", tasks)


async def _items(stage: _Stage) -> dict[str, list[dict[str, Any]]]:
    """Return what the feed has now."""
    async with stage.session.get("/console/feed") as response:
        async for line in response.content:
            if line.startswith(b'data: {"counts'):
                found = defaultdict(list)
                for topic, _, item in orjson.loads(line.removeprefix(b"data: "))["changes"]:
                    found[topic].append(item)
                return found
    raise RuntimeError("the feed ended")


async def _in_turns(what: str, rate: float, rounds: int, seconds: float) -> None:
    async with _staged() as stage, _caller(stage, what) as call:
        pids = _processes(stage.facts["process_id"])
        await _run(call, rate or 200.0, 2.0)
        found: dict[str, list[dict[str, float]]] = {"none": [], "tab": []}
        for turn in range(rounds):
            for variant in ("none", "tab") if turn % 2 == 0 else ("tab", "none"):
                async with stage.tab() if variant == "tab" else nullcontext():
                    await asyncio.sleep(_SETTLING_SECONDS)
                    found[variant].append(await _measured(call, rate, seconds, pids))
    _say(f"{what}, {f'{rate:.0f}/s' if rate else 'as many as possible'}, {rounds} rounds of {seconds:.0f} s")
    for name in found["none"][0]:
        none, tab = ([each[name] for each in found[variant]] for variant in ("none", "tab"))
        ratio = statistics.median(b / a for a, b in zip(none, tab, strict=True))
        _say(f"{name:28} none {statistics.median(none):8.3f}  tab {statistics.median(tab):8.3f}  ratio {ratio:.3f}")


def _processes(sandbox: int) -> dict[str, int]:
    [gateway] = Path(f"/proc/{sandbox}/task/{sandbox}/children").read_text().split()
    return {"sandbox": sandbox, "gateway": int(gateway)}


async def _measured(
    call: Callable[[], Awaitable[Any]], rate: float, seconds: float, pids: dict[str, int]
) -> dict[str, float]:
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    latencies = sorted(await _run(call, rate, seconds))
    used = {name: (cpu_seconds(pid) - before[name]) * 1000 / len(latencies) for name, pid in pids.items()}
    cut = statistics.quantiles(latencies, n=100)
    return {
        "calls per second": len(latencies) / seconds,
        "p50, ms": cut[49] * 1000,
        "p99, ms": cut[98] * 1000,
        **{f"{name}'s processor, ms": each for name, each in used.items()},
        "both processors, ms": sum(used.values()),
    }


async def _run(call: Callable[[], Awaitable[Any]], rate: float, seconds: float) -> list[float]:
    """Make calls at a rate, each when it is due, or without one as many as possible; return the latencies."""
    latencies: list[float] = []
    began = time.monotonic()

    async def make(due: float) -> None:
        await call()
        latencies.append(time.monotonic() - due)

    async def make_many() -> None:
        while (now := time.monotonic()) < began + seconds:
            await make(now)

    if not rate:
        await asyncio.gather(*(make_many() for _ in range(_IN_FLIGHT)))
        return latencies
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(make(due))
    return latencies


@asynccontextmanager
async def _caller(stage: _Stage, what: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    if what == "notifications":
        yield stage.notify
        return
    files = {name: Path(file) for name, file in stage.facts["files"].items()}
    caller = credentials(files["server_ca"], Identity(files["caller_certificate"], files["caller_key"]))
    async with grpc.aio.secure_channel(stage.facts["addresses"]["grpc"], caller) as channel:
        cards = CardServiceStub(channel)
        names = [f"card_speed_{number}" for number in range(_CARDS)]
        for number, name in enumerate(names):
            request = card.RegisterCardRequest(card_id=name, consumer_id="consumer_1", card_product_id="light")
            request.credentials.pan = f"497010{number:010d}"
            request.credentials.expiry.month, request.credentials.expiry.year = 12, 2035
            await cards.RegisterCard(request, timeout=_CALL_SECONDS)
        # A card is suspended, and resumed when its turn comes again: there are more of them than calls in flight.
        turns = itertools.cycle(
            [
                partial(cards.SuspendCard, card.SuspendCardRequest(card_id=name, reason_code="USER_DECISION"))
                for name in names
            ]
            + [
                partial(cards.ResumeCard, card.ResumeCardRequest(card_id=name, reason_code="USER_DECISION"))
                for name in names
            ]
        )

        async def change() -> None:
            await next(turns)(timeout=_CALL_SECONDS)

        yield change


def _say_spread(what: str, milliseconds: list[float]) -> None:
    middle, most = statistics.median(milliseconds), max(milliseconds)
    _say(f"{what}: median {middle:.1f} ms, longest {most:.1f} ms, {len(milliseconds)} measured")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("page", "calls", "notifications"))
    parser.add_argument("--rate", type=float, default=50.0, help="per second; 0: as many as possible")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    if chosen.what == "page":
        asyncio.run(_page())
    else:
        asyncio.run(_in_turns(chosen.what, chosen.rate, chosen.rounds, chosen.seconds))


if __name__ == "__main__":
    _main()
