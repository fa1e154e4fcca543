"""The browser's way through a challenge: the ACS's page in a frame of the console, and the CRes that it brings back.

A browser distrusts the ACS's certificate, which is the sandbox's own. So the page is at the same path of the console,
which passes the browser's form on to the ACS and the ACS's page back, both unchanged. No script runs in the frame.
"""

import base64
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from html import escape
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp import hdrs, web

from sandbox.common.fields import MalformedBodyError, text
from sandbox.console.feed import Feed
from sandbox.console.recorder import masked
from sandbox.threeds.acs import PAGE_STYLE
from sandbox.threeds.contract import Path
from sandbox.threeds.encoding import decode

__all__ = ["RETURN_PATH", "ChallengePages", "forms_of"]

RETURN_PATH: Final = "/console/challenges/return"
"""The merchant's page to which the browser brings the CRes: the AReq's ``notificationURL``."""
_ACS: Final = (Path.CHALLENGE, Path.DECISION)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
_RESULTS: Final = {"Y": "You are authenticated.", "N": "You are not authenticated."}


def forms_of(host: str) -> str:
    """Return where forms of the console and of the ACS's pages may go, for a Content-Security-Policy."""
    return " ".join(f"http://{host}{path}" for path in (*_ACS, RETURN_PATH))


class ChallengePages:
    """Shows the ACS's pages, and takes the browser back."""

    def __init__(self, feed: Feed, acs_url: str, tls: ssl.SSLContext, clock: Callable[[], float]) -> None:
        """Show nothing yet.

        Args:
            feed: Takes the end of each challenge.
            acs_url: The ACS's URL, without a path.
            tls: Trusts the ACS's certificate.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._feed = feed
        self._acs_url = acs_url
        self._tls = tls
        self._clock = clock

    def routes(self, result: Callable[[str], Awaitable[Mapping[str, Any]]]) -> list[web.RouteDef]:
        """Return the routes.

        Args:
            result: Asks the gateway for the result of a challenge, by its ``threeDSServerTransID``.
        """
        return [
            *(web.post(path, self._pass_on) for path in _ACS),
            web.post(RETURN_PATH, partial(self._come_back, result)),
        ]

    async def _pass_on(self, request: web.Request) -> web.Response:
        form = await request.read()
        headers = {hdrs.CONTENT_TYPE: "application/x-www-form-urlencoded"}
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls), timeout=_TIMEOUT) as session,
                session.post(
                    f"{self._acs_url}{request.path}", data=form, headers=headers, allow_redirects=False
                ) as response,
            ):
                return _framed(request, await response.text(), response.status)
        except (aiohttp.ClientError, TimeoutError):
            return _framed(request, _page("The page of your bank does not answer", ""), HTTPStatus.BAD_GATEWAY)

    async def _come_back(
        self, result: Callable[[str], Awaitable[Mapping[str, Any]]], request: web.Request
    ) -> web.Response:
        try:
            # With or without padding, as ACSs write it.
            cres = decode(text(dict(await request.post()), "cres").rstrip("="))
        except ValueError:
            raise MalformedBodyError from None
        trans_id = text(cres, "threeDSServerTransID")
        found = await result(trans_id)
        ends = {"at": self._clock(), "cres": masked(cres), "result": masked(found)}
        self._feed.put("challenges", trans_id, partial(dict, ends))
        status = cres.get("transStatus")
        said = escape(_RESULTS.get(str(status), "The shop looks at the result."))
        return _framed(request, _page("Back at the shop", f"<p>{said}</p>"))


def _framed(request: web.Request, page: str, status: int = HTTPStatus.OK) -> web.Response:
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action {forms_of(request.host)}; "
        f"frame-ancestors http://{request.host}; sandbox allow-forms allow-same-origin"
    )
    headers = {
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": policy,
        "Cross-Origin-Resource-Policy": "same-origin",
        # With none at all, browsers send forms with no origin either.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(status=status, text=page, content_type="text/html", headers=headers)


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{PAGE_STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )
