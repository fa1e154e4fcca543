"""A minimal browser for challenges: it posts forms and reads the forms of the response pages."""

import ssl
from dataclasses import dataclass
from html.parser import HTMLParser

import aiohttp

__all__ = ["Form", "post_form"]

_TIMEOUT = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True, slots=True)
class Form:
    """A form on a page."""

    action: str
    """The URL that the form posts to."""
    fields: dict[str, str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(found["action"], {}))
        elif tag == "input" and self.forms:
            self.forms[-1].fields[found["name"]] = found["value"]


async def post_form(url: str, fields: dict[str, str], tls: ssl.SSLContext) -> Form:
    """Post a form and return the form on the response page.

    Raises:
        aiohttp.ClientError: The request failed.
        LookupError: The page has no form.
    """
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), timeout=_TIMEOUT) as session,
        session.post(url, data=fields) as response,
    ):
        reader = _Reader()
        reader.feed(await response.text())
        return reader.forms[0]
