"""Takes the pictures of the sandbox's console in docs/images, or in another folder: a sandbox after some purchases.

It needs Debian's Chromium (``apt-get install chromium``).
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import orjson
from aiohttp import ClientSession
from playwright.async_api import async_playwright

from tools.operators_page_pictures import CHROMIUM

__all__ = ["running_sandbox"]

_FOLDER: Final = Path(__file__).parents[1] / "docs" / "images"
_SIZES: Final = ((1280, 960), (390, 1500))
_SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
_ORDERS: Final[tuple[dict[str, Any], ...]] = (
    {"cardId": "card_2", "flow": "frictionless", "amount": 450, "merchant": "Corner Coffee", "wait_ms": 20_000},
    {"cardId": "card_1", "flow": "oob-issuer", "amount": 129_900, "merchant": "Bicycles", "approves": True},
    {"cardId": "card_2", "flow": "oob", "amount": 8_250, "currency": "GBP", "merchant": "Night Train"},
    {"cardId": "card_1", "flow": "sms-otp-issuer", "amount": 1_999, "wait_ms": 20_000},
)


async def _take(folder: Path, schemes: tuple[Literal["light", "dark"], ...]) -> None:
    async with running_sandbox() as kept, async_playwright() as playwright:
        control = orjson.loads((kept / "sandbox.json").read_bytes())["addresses"]["control"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        first = await browser.new_page()
        await first.goto(control)
        await _buy(control)
        for width, height in _SIZES:
            for scheme in schemes:
                page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                await page.goto(control)
                await page.locator("#sequence svg").wait_for()
                await page.wait_for_timeout(2_500)
                await page.screenshot(path=folder / f"console-{width}-{scheme}.png")
        await browser.close()


async def _buy(control: str) -> None:
    async with ClientSession(control, raise_for_status=True) as session:
        for order in _ORDERS:
            async with session.post("/sandbox/purchases", json=order) as response:
                last = (await response.json())["purchaseId"]
        async with session.get(f"/sandbox/sms?purchaseId={last}") as response:
            otp = (await response.json())["messages"][0]["otp"]
        async with session.post(f"/sandbox/purchases/{last}/otp", json={"otp": otp}) as response:
            await response.read()
        async with session.get(f"/sandbox/purchases/{last}?wait_ms=20000") as response:
            await response.read()


@asynccontextmanager
async def running_sandbox() -> AsyncIterator[Path]:
    """Run `d1-gateway sandbox` at any ports for the duration of the block; yield its folder."""
    with TemporaryDirectory() as name:
        folder = Path(name) / "sandbox"
        command = (sys.executable, "-m", "gateway", "sandbox", "--port-base", "0", "--folder", str(folder))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        if process.stdout is None:
            raise RuntimeError("there is no output to read")
        try:
            while b"Stop with" not in (line := await process.stdout.readline()):
                if not line:
                    raise RuntimeError("the sandbox did not start")
            yield folder
        finally:
            process.terminate()
            await process.wait()


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else _FOLDER
    chosen.mkdir(exist_ok=True)
    asyncio.run(_take(chosen, _SCHEMES if len(sys.argv) > 1 else ("light",)))
