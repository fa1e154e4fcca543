"""Takes the pictures of the operators' page in docs/images, or in another folder. What they show is invented.

It needs Debian's Chromium (``apt-get install chromium``).
"""

import asyncio
import sys
from pathlib import Path
from typing import Final, Literal

from aiohttp import web
from playwright.async_api import async_playwright

from gateway.operators import document
from tools.operators_page_sample import sample

__all__ = ["CHROMIUM"]

CHROMIUM: Final = "/usr/bin/chromium"
_FOLDER: Final = Path(__file__).parents[1] / "docs" / "images"
_STATIC: Final = Path(document.__file__).parent / "static"
_SIZES: Final = ((1280, 800), (390, 844))
_SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


async def _take(folder: Path) -> None:
    page = document.render(sample())
    app = web.Application()
    app.router.add_get("/", lambda _: _response(page))
    app.router.add_static("/static", _STATIC)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        for width, height in _SIZES:
            for scheme in _SCHEMES:
                shown = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                await shown.goto(f"http://{host}:{port}/")
                await shown.screenshot(path=folder / f"operators-page-{width}-{scheme}.png", full_page=True)
        await browser.close()
    await runner.cleanup()


async def _response(page: bytes) -> web.Response:
    return web.Response(body=page, content_type="text/html", charset="utf-8")


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else _FOLDER
    chosen.mkdir(exist_ok=True)
    asyncio.run(_take(chosen))
