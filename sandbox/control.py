"""The sandbox's control API: faults, cards, consumers, tokens, keys, notifications, purchases, handler, transactions.

Plain HTTP on loopback.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.common.fields import (
    InvalidFieldError,
    InvalidFormatError,
    InvalidValueError,
    MalformedBodyError,
    integer,
    json_object,
    optional_choice,
    optional_text,
    text,
)
from sandbox.common.server import HOST
from sandbox.common.state import StateError
from sandbox.console.console import Console
from sandbox.d1.acs.control import AcsControl, NoSuchPurchaseError
from sandbox.d1.acs.purchase import NotAwaitedError
from sandbox.d1.acs.purchases import NotPossibleError
from sandbox.d1.api.token import AccessTokens
from sandbox.d1.callbacks.edge_client import EdgeClient
from sandbox.d1.callbacks.notifier import NotDeliveredError, Notifier
from sandbox.d1.key_control import KeyControl
from sandbox.d1.model import contract
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.keys import KidTakenError, NoSuchKeyError
from sandbox.d1.model.notification import Notification, Variant, new_details, new_operation_id, vary
from sandbox.d1.model.store import CardStore
from sandbox.fault_control import FaultControl
from sandbox.issuer_control import IssuerControl
from sandbox.threeds.control import NoSuchTransactionError, ThreeDSControl

__all__ = ["Control"]

_HOSTS = frozenset({HOST, "localhost"})
_MOST_NOTIFICATIONS = 1_000
_LONGEST_WAIT_MS = 60_000
_FOR_PEOPLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_EDGE_URL = re.compile(r"https://[\w.-]+:\d{1,5}")

_ENDPOINTS = {
    **FaultControl.ENDPOINTS,
    "GET /sandbox/cards": "",
    "POST /sandbox/consumers": "consumerId",
    "POST /sandbox/tokens/expire": "",
    "POST /sandbox/edge": "url, other: whose callbacks D1 calls, and whose while that one is down",
    "POST /sandbox/banking-path": f"path ({contract.BANKING} at first): where callbacks about consumers begin",
    "POST /sandbox/notifications": (
        "cardId, variant, count, delay_ms, operationId, operation, status, consumerId, details, error"
    ),
    **KeyControl.ENDPOINTS,
    **AcsControl.ENDPOINTS,
    **IssuerControl.ENDPOINTS,
    **ThreeDSControl.ENDPOINTS,
}

_ERRORS: Mapping[type[Exception], tuple[int, str]] = {
    NotDeliveredError: (502, ""),
    NotPossibleError: (409, ""),
    NotAwaitedError: (409, "the purchase does not wait for this action"),
    KidTakenError: (409, "a key with this kid exists"),
    NoSuchKeyError: (404, "no such key"),
    NoSuchPurchaseError: (404, "no such purchase"),
    StateError: (507, ""),
    NoSuchTransactionError: (404, "no such transaction, or it does not wait for a result"),
}
"""The status of each error, and a text for errors without their own."""


@dataclass(frozen=True, slots=True)
class Control:
    """The control API."""

    d1_url: str
    store: CardStore
    tokens: AccessTokens
    faults: FaultControl
    edge: EdgeClient
    notifier: Notifier
    keys: KeyControl
    acs: AcsControl
    issuer: IssuerControl
    threeds: ThreeDSControl
    console: Console
    clock: Callable[[], float]
    """Returns the time, in seconds since 1970 (UTC)."""

    def app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[_error_middleware, _refuse_other_sites])
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/sandbox", self._describe),
                *self.faults.routes(),
                web.get("/sandbox/cards", self._list_cards),
                web.post("/sandbox/consumers", self._add_consumer),
                web.post("/sandbox/tokens/expire", self._expire_tokens),
                web.post("/sandbox/edge", self._set_edge),
                web.post("/sandbox/banking-path", self._set_banking_path),
                web.post("/sandbox/notifications", self._notify),
                *self.keys.routes(),
                *self.acs.routes(),
                *self.issuer.routes(),
                *self.threeds.routes(),
                *self.console.routes(),
            ]
        )
        return app

    async def _index(self, request: web.Request) -> web.Response:
        # Browsers ask for HTML by name, programs do not.
        wants_page = "text/html" in request.headers.get("Accept", "")
        return self.console.page(request) if wants_page else await self._describe(request)

    async def _describe(self, _: web.Request) -> web.Response:
        variants = [variant.value for variant in Variant]
        return web.json_response(
            {
                "d1": self.d1_url,
                "threeds": self.threeds.url,
                "endpoints": _ENDPOINTS,
                **self.faults.operations(),
                "variants": variants,
            }
        )

    async def _list_cards(self, _: web.Request) -> web.Response:
        return web.json_response({"cards": [card.shown() for card in self.store.cards()]})

    async def _add_consumer(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        self.store.add_consumer(text(body, "consumerId", contract.CONSUMER_ID))
        return web.Response(status=204)

    async def _expire_tokens(self, _: web.Request) -> web.Response:
        self.tokens.expire_all()
        return web.Response(status=204)

    async def _set_edge(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        other = optional_text(body, "other", _EDGE_URL)
        self.edge.set_edge(text(body, "url", _EDGE_URL), *(() if other is None else (other,)))
        return web.Response(status=204)

    async def _set_banking_path(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        self.edge.banking_path = text(body, "path", contract.BANKING_PATH)
        return web.Response(status=204)

    async def _notify(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        variant = optional_choice(body, "variant", Variant) or Variant.PLAIN
        usual = 2 if variant in {Variant.DUPLICATE, Variant.OUT_OF_ORDER} else 1
        count = integer(body, "count", usual, 1, _MOST_NOTIFICATIONS)
        delay_ms = integer(body, "delay_ms", 0, 0, _LONGEST_WAIT_MS)
        first = _notification(body, datetime.fromtimestamp(self.clock(), UTC))
        notifications = vary(variant, first, count)
        await asyncio.sleep(delay_ms / 1000)
        statuses = await self.notifier.send_all(notifications)
        sent = [
            {"operationId": notification.operation_id, "status": status}
            for notification, status in zip(notifications, statuses, strict=True)
        ]
        return web.json_response({"sent": sent})


@web.middleware
async def _error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return _readable(await handler(request))
    except web.HTTPException as error:
        return _error_response(error.status, error.reason)
    except (InvalidFieldError, MalformedBodyError) as error:
        return _error_response(400, _wrong(error))
    except D1Error as error:
        return _error_response(error.status, error.error or "")
    except tuple(_ERRORS) as error:
        status, text = _ERRORS[type(error)]
        return _error_response(status, text or str(error))


@web.middleware
async def _refuse_other_sites(request: web.Request, handler: Handler) -> web.StreamResponse:
    # The port is known and there are no credentials: a page of another site, open in a browser on this machine, must
    # not make changes, nor may a site whose own name resolves to this address (DNS rebinding). Programs send no Origin.
    origin = request.headers.get("Origin")
    if request.host.partition(":")[0].lower() not in _HOSTS or origin not in {None, f"http://{request.host}"}:
        raise web.HTTPForbidden(reason="requests of other sites are refused")
    return await handler(request)


def _error_response(status: int, error: str) -> web.StreamResponse:
    return _readable(web.json_response({"error": error}, status=status))


def _readable(response: web.StreamResponse) -> web.StreamResponse:
    """Lay out JSON for a terminal: people use this API with curl."""
    is_json = isinstance(response, web.Response) and response.content_type == "application/json"
    if is_json and isinstance(response, web.Response) and isinstance(response.body, bytes) and response.body:
        response.body = orjson.dumps(orjson.loads(response.body), option=_FOR_PEOPLE)
    return response


def _wrong(error: InvalidFieldError | MalformedBodyError) -> str:
    if isinstance(error, InvalidValueError):
        return f"{error.field} is not one of the values allowed"
    if isinstance(error, InvalidFieldError):
        return f"{error.field} is missing or malformed"
    return "body is not a JSON object"


def _notification(body: Mapping[str, Any], now: datetime) -> Notification:
    details = body.get("details", {})
    if not isinstance(details, dict):
        raise InvalidFormatError("details")
    return Notification(
        card_id=text(body, "cardId", contract.CARD_ID),
        operation_id=optional_text(body, "operationId", contract.OPERATION_ID) or new_operation_id(),
        start_time=now,
        operation=optional_text(body, "operation") or "3DS_CHALLENGE_OOB",
        status=optional_text(body, "status") or "SUCCESSFUL",
        consumer_id=optional_text(body, "consumerId", contract.CONSUMER_ID),
        details=new_details() | details,
        error=optional_text(body, "error"),
    )
