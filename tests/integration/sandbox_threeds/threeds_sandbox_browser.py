"""A minimal browser for forms."""

import base64
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import aiohttp

__all__ = ["Browser", "Form", "Page", "pack", "unpack"]


def pack(message: dict[str, Any]) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(json.dumps(message).encode()).decode().rstrip("=")


def unpack(text: str) -> Any:
    """base64url with or without padding."""
    return json.loads(base64.urlsafe_b64decode(text.rstrip("=") + "=="))


@dataclass(frozen=True, slots=True)
class Form:
    """A form on a page."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, str] = field(default_factory=dict)
    """The name of each button by its value."""


@dataclass(frozen=True, slots=True)
class Page:
    """The current page of a browser."""

    status: int
    text: str
    forms: tuple[Form, ...]
    submits_itself: bool

    @property
    def form(self) -> Form:
        (form,) = self.forms
        return form


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(found["method"], found["action"]))
        elif tag == "input":
            self.forms[-1].fields[found["name"]] = found.get("value", "")
        elif tag == "button" and "name" in found:
            self.forms[-1].buttons[found["value"]] = found["name"]


class Browser:
    """Posts forms and reads the response pages."""

    def __init__(self, session: aiohttp.ClientSession, home: str) -> None:
        self._session = session
        self._home = home

    async def post(self, url: str, fields: dict[str, str]) -> Page:
        async with self._session.post(url if "://" in url else self._home + url, data=fields) as response:
            text = await response.text()
            assert response.content_type == "text/html"
            reader = _Reader()
            reader.feed(text)
            return Page(response.status, text, tuple(reader.forms), ".submit()" in text)

    async def press(self, form: Form, value: str) -> Page:
        return await self.post(form.action, form.fields | {form.buttons[value]: value})
