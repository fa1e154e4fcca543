"""Serves the operators' page: HTML made here, and three files beside it. It changes nothing."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib import resources
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from gateway.operators.document import render
from gateway.operators.history import History
from gateway.operators.snapshot import Instance, Sources, read

__all__ = ["OperatorsPage", "is_expected_host"]

_MAX_AGE_SECONDS: Final = 0.5
"""How long a page is reused, so that however many people look, it is made twice a second at most."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_FILES: Final[Mapping[str, str]] = MappingProxyType(
    {"icon.svg": "image/svg+xml", "page.css": "text/css", "page.js": "text/javascript"}
)
_MISDIRECTED: Final = (
    "This page is not served under the name that the request has for this machine. Ask for its IP address, or list the "
    "name in [admin] page_hosts.\n"
)


class OperatorsPage:
    """The page, and the history behind its charts."""

    def __init__(self, sources: Sources, extra_hosts: Collection[str] = ()) -> None:
        """Read the files that belong to the page.

        Args:
            sources: What it is read off.
            extra_hosts: Further names under which browsers may ask for it, in lower case.
        """
        self._sources = sources
        self._hosts = frozenset({*extra_hosts, socket.gethostname().lower()})
        self._instance = Instance()
        self._history = History(sources.registry, sources.log, sources.log_bytes)
        folder = resources.files("gateway.operators") / "static"
        self._files = {name: (folder / name).read_bytes() for name in _FILES}
        self._page = b""
        self._stale_from = float("-inf")
        self._making = asyncio.Lock()

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Record the history for as long as the context lasts."""
        async with self._history.recorded():
            yield

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """The routes to serve."""
        return [web.get("/", self._serve_page), web.get("/static/{name}", self._serve_file)]

    async def _serve_page(self, request: web.Request) -> web.Response:
        if not is_expected_host(request.headers.get(hdrs.HOST, ""), self._hosts):
            return _response(_MISDIRECTED.encode(), "text/plain", HTTPStatus.MISDIRECTED_REQUEST)
        async with self._making:
            if time.monotonic() >= self._stale_from:
                self._page = render(await read(self._sources, self._instance, self._history))
                self._stale_from = time.monotonic() + _MAX_AGE_SECONDS
        return _response(self._page, "text/html")

    async def _serve_file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._files:
            return _response(b"not found\n", "text/plain", HTTPStatus.NOT_FOUND)
        return _response(self._files[name], _FILES[name])


def is_expected_host(given: str, names: Collection[str]) -> bool:
    """Return whether a request's ``Host`` may be this machine's.

    A site whose own name resolves to this machine (DNS rebinding) could otherwise read the page in an operator's
    browser. It needs a name in a domain of its own: an IP address, or a name without a dot, is none.

    Args:
        given: The header.
        names: Further accepted names, in lower case.
    """
    try:
        host = (urlsplit(f"//{given}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if not host or host in names or "." not in host:
        # Without a name the request is no browser's.
        return True
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _response(body: bytes, content_type: str, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=body, content_type=content_type, charset="utf-8", status=status, headers=_HEADERS)
