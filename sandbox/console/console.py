"""The console as a whole: serves the page and its feed, and follows the sandbox while a page is open."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from aiohttp import hdrs, web

from sandbox.common.answers import Answering
from sandbox.common.faults import Faults
from sandbox.console.authentications import AuthenticationCalls
from sandbox.console.cards import CardCalls
from sandbox.console.challenges import ChallengePages, forms_of
from sandbox.console.feed import Feed
from sandbox.console.gateway import Gateway, GatewayFollower
from sandbox.console.recorder import Recorder
from sandbox.d1.model.store import CardStore
from sandbox.d1.simulator import D1
from sandbox.threeds.simulator import ThreeDS
from sandbox.threeds.store import PENDING, Transactions

__all__ = ["Console"]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action {forms}; frame-src {forms}; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        hdrs.CACHE_CONTROL: "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        # With none at all, browsers send forms with no origin either.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
)
_PAGE: Final = "console.html"
_RECONNECT: Final = b"retry: 500\n\n"
_RESET: Final = b"event: reset\ndata: {}\n\n"
_BEAT: Final = b"event: beat\ndata: {}\n\n"
_BEAT_SECONDS: Final = 2.0
_GATHER_SECONDS: Final = 0.02
"""How long a change waits for those that belong to it: they travel together."""
_BETWEEN_SECONDS: Final = 0.04
"""The pause after an event."""
_BUSY_SECONDS: Final = 0.25
"""The pause after an event with more than `_BUSY` changes: nobody reads that fast, and a page takes time to draw."""
_BUSY: Final = 40
_POLL_SECONDS: Final = 0.25
_MOST_CARDS: Final = 100
_MOST_TRANSACTIONS: Final = 50


class Console:
    """The console of a sandbox. While no page is open, it only notes what happened last."""

    def __init__(
        self,
        d1: D1,
        threeds: ThreeDS,
        issuer: Answering,
        faults: Faults,
        browser_tls: ssl.SSLContext,
        clock: Callable[[], float],
    ) -> None:
        """Note what happens from now on.

        Args:
            d1: The simulator of D1.
            threeds: The simulator of the 3-D Secure server.
            issuer: The sandbox's own handler.
            faults: The faults on demand.
            browser_tls: Trusts the certificates of the simulators' pages.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._store = d1.store
        self._transactions = threeds.transactions
        self._issuer = issuer
        self._faults = faults
        self._clock = clock
        self._feed = Feed()
        self._challenges = ChallengePages(self._feed, threeds.url, browser_tls, clock)
        self._follower: GatewayFollower | None = None
        self._calls: tuple[CardCalls, AuthenticationCalls] | None = None
        self._pages = 0
        self._opened = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        Recorder(self._feed, clock).record(d1, threeds, issuer)
        folder = resources.files("sandbox.console") / "static"
        self._files = {file.name: file.read_bytes() for file in folder.iterdir()}

    @asynccontextmanager
    async def connected(self, gateway: Gateway) -> AsyncIterator[None]:
        """Show a gateway for the duration of the block; its channel may be closed afterwards."""
        self._follower = GatewayFollower(self._feed, gateway, self._clock)
        self._calls = CardCalls(gateway.channel), AuthenticationCalls(gateway.channel)
        try:
            yield
        finally:
            self._follower = self._calls = None
            if self._following is not None:
                self._following.cancel()
                await asyncio.gather(self._following, return_exceptions=True)

    async def opened(self) -> None:
        """Wait until a page is open."""
        await self._opened.wait()

    @property
    def is_open(self) -> bool:
        """Whether a page is open."""
        return self._opened.is_set()

    def caption(self, caption: Mapping[str, Any]) -> None:
        """Show a caption of the demonstration, in place of the one before; see ``static/demo.js`` for its fields."""
        self._feed.put("caption", "caption", partial(dict, caption))

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without the page's own: see `page`."""
        return [
            web.get("/console/feed", self._serve_feed),
            web.get("/console/cards/{cardId}/history", self._serve_history),
            web.post("/console/cards/{rpc}", self._change_card),
            web.post("/console/authentications", self._authenticate),
            web.get("/console/{name}", self._serve_file),
            *self._challenges.routes(self._challenge_result),
        ]

    def page(self, request: web.Request) -> web.Response:
        """Return the page."""
        return self._file(request, _PAGE)

    async def _change_card(self, request: web.Request) -> web.Response:
        cards, _ = self._called()
        return await cards.change(request)

    async def _serve_history(self, request: web.Request) -> web.Response:
        cards, _ = self._called()
        return await cards.history(request)

    async def _authenticate(self, request: web.Request) -> web.Response:
        _, authentications = self._called()
        return await authentications.start(request)

    async def _challenge_result(self, trans_id: str) -> Mapping[str, Any]:
        _, authentications = self._called()
        return await authentications.result(trans_id)

    def _called(self) -> tuple[CardCalls, AuthenticationCalls]:
        if self._calls is None:
            raise web.HTTPServiceUnavailable(reason="the sandbox has no gateway")
        return self._calls

    async def _serve_file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._files:
            raise web.HTTPNotFound
        return self._file(request, name)

    def _file(self, request: web.Request, name: str) -> web.Response:
        kind = _TYPES[name[name.rindex(".") :]]
        return web.Response(body=self._files[name], content_type=kind, charset="utf-8", headers=_headers(request))

    async def _serve_feed(self, request: web.Request) -> web.StreamResponse:
        known = request.headers.get("Last-Event-ID") or request.query.get("after", "")
        position = self._feed.position(known)
        response = web.StreamResponse(headers={**_headers(request), hdrs.CONTENT_TYPE: "text/event-stream"})
        await response.prepare(request)
        async with self._attended():
            # A page that closes ends its connection: the next write then fails, and that is how one leaves.
            with suppress(ConnectionError):
                await response.write(_RECONNECT + (_RESET if position is None else b""))
                await self._send(response, position or 0)
        return response

    async def _send(self, response: web.StreamResponse, position: int) -> None:
        while True:
            before, (position, event) = position, self._feed.since(position)
            await response.write(event)
            await asyncio.sleep(_BUSY_SECONDS if before and position - before > _BUSY else _BETWEEN_SECONDS)
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT_SECONDS):
                        await self._feed.changed(position)
                        break
                await response.write(_BEAT)
            await asyncio.sleep(_GATHER_SECONDS)

    @asynccontextmanager
    async def _attended(self) -> AsyncIterator[None]:
        """Follow what must be asked for, for as long as a page is open."""
        self._pages += 1
        if self._pages == 1:
            self._opened.set()
            self._following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            self._pages -= 1
            if self._pages == 0:
                self._opened.clear()
            if self._pages == 0 and self._following is not None:
                self._following.cancel()
                self._following = None

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_sandbox())
            if self._follower is not None:
                tasks.create_task(self._follower.follow())

    async def _follow_sandbox(self) -> None:
        shown: dict[str, Mapping[str, Any]] = {}
        while True:
            now: dict[str, Mapping[str, Any]] = {
                "cards": {"cards": _cards(self._store)},
                "handler": {
                    "all": self._issuer.all_kinds,
                    "kinds": self._issuer.kinds,
                    "registered": self._issuer.answered,
                },
                "faults": {"faults": _faults(self._faults)},
                "transactions": _transactions(self._transactions),
            }
            for topic, item in now.items():
                if shown.get(topic) != item:
                    shown[topic] = item
                    self._feed.put(topic, topic, partial(dict, item))
            await asyncio.sleep(_POLL_SECONDS)


def _headers(request: web.Request) -> Mapping[str, str]:
    return {**_HEADERS, "Content-Security-Policy": _POLICY.format(forms=forms_of(request.host))}


def _cards(store: CardStore) -> list[dict[str, Any]]:
    return [card.shown() for card in store.cards()[-_MOST_CARDS:]]


def _transactions(transactions: Transactions) -> dict[str, dict[str, Any]]:
    return {
        each.trans_id: {
            "phase": each.phase.value,
            "awaitsDecision": each.phase in PENDING,
            "transStatus": None if each.rreq is None else each.rreq["transStatus"],
        }
        for each in transactions.all()[-_MOST_TRANSACTIONS:]
    }


def _faults(faults: Faults) -> list[dict[str, Any]]:
    return [{"operation": fault.operation, "what": fault.what, "left": left} for fault, left in faults.pending()]
