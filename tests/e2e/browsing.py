"""What the tests in a real browser have in common."""

from typing import Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

__all__ = ["violations"]

_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


async def violations(page: Page) -> list[str]:
    """Return what is not accessible, at either size and in either scheme."""
    found = []
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme in _SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            result = await Axe().run(page)
            found += [f"{width}, {scheme}: {result.generate_report()}"] * bool(result.violations_count)
    return found
