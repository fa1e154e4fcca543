"""D1's notifications of operations, on cards (D1 API: outbound 3DS API) and on consumers (outbound consumer API).

Each is parsed once and serialised once; it is on disk before D1 gets a response.
"""

import asyncio
import re
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from adapters.d1.assumptions import Assumption
from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.fields import CARD_ID, CONSUMER_ID, OPERATION_ID, FieldError, Fields
from adapters.d1.callbacks.misfits import Misfits
from adapters.d1.callbacks.operations import parse_consumer_operation, parse_operation
from adapters.d1.callbacks.request import id_in_path, issuer_in_path
from gateway.edge.request_body import read_json
from gateway.edge.responses import empty_response
from gateway.logging import correlation
from gateway.notifications.events import event_of, is_unread
from gateway.ports import Appendable, Event, EventKind, MissedNotifications
from gateway.ports.meter import UpstreamMeter
from issuer.notification.v1.messages_pb2 import Notification

__all__ = ["ASSUMPTIONS", "Notifications"]

ASSUMPTIONS: Final = (
    Assumption(
        what="D1 sends a notification again that got a 5xx, or no response",
        basis="D1's guide: it sends again depending on the status; the condition, the number and the pauses are cut",
        if_wrong="What arrives while the event log is unavailable is lost. Compare with the history of operations.",
    ),
    Assumption(
        what="D1 does not send a notification again that got a 400",
        basis="D1's page, which is cut after `D1 will no`",
        if_wrong="A notification without a usable id comes again and again; each is logged and gets a 400.",
    ),
)

_NOTE_SECONDS: Final = 1.0
"""How long D1 waits for an error, so that a crash after it loses nothing."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of notification."""

    kind: EventKind
    message: str
    """The field of `Notification` with the operation."""
    subject: str
    """The path's parameter with the subject."""
    form: re.Pattern[str]
    """The form of the subject's id."""


_THREE_DS: Final = _Kind(EventKind.THREE_DS_OPERATION, "three_ds_operation", "cardId", CARD_ID)
_CONSUMER: Final = _Kind(EventKind.CONSUMER_OPERATION, "consumer_operation", "consumerId", CONSUMER_ID)


class Notifications:
    """Appends notifications to the event log.

    Each callback responds with 204 once all its operations are on disk; a duplicate also gets 204 and is not stored
    again. It raises:

    - HttpError: 404 for an unknown issuer; 400 or 415 for what is no JSON object, or a malformed id in the path.
    - FieldError: An operation has no usable id; what else came with it is stored.
    - GatewayError: EVENT_LOG_UNAVAILABLE; D1 sends all of it again.
    """

    def __init__(
        self,
        issuers: Container[str],
        log: Appendable,
        meter: UpstreamMeter,
        missed: MissedNotifications | None = None,
    ) -> None:
        """Take the notifications of the configured issuers.

        Args:
            issuers: The issuers that are served.
            log: Takes the notifications.
            meter: Counts fields that do not fit.
            missed: Takes the cards whose notifications got no success, or were not understood; None if nothing is done
                about them.
        """
        self._issuers = issuers
        self._log = log
        self._missed = missed
        self._misfits = Misfits(meter)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post(d1.THREE_DS_NOTIFICATION_PATH, self.post_three_ds),
            web.post(d1.CONSUMER_NOTIFICATION_PATH, self.post_consumer),
        ]

    async def post_three_ds(self, request: web.Request) -> web.Response:
        """Take the notification of one or more 3DS operations on a card."""
        try:
            is_unclear = await self._take(request, _THREE_DS)
        except Exception:
            # D1 may have given up by the time it hears of it; or it does not send the notification again.
            await self._noted(request)
            raise
        except BaseException:
            # D1 has hung up: nobody waits.
            self._note(request)
            raise
        if is_unclear:
            await self._noted(request)
        return empty_response(d1.THREE_DS_NOTIFICATION_STATUS)

    async def post_consumer(self, request: web.Request) -> web.Response:
        """Take the notification of one or more operations on a consumer."""
        await self._take(request, _CONSUMER)
        return empty_response(d1.CONSUMER_NOTIFICATION_STATUS)

    async def _take(self, request: web.Request, kind: _Kind) -> bool:
        """Store the operations. Returns whether the state of one could not be told."""
        issuer_id = issuer_in_path(request, self._issuers)
        subject_id = id_in_path(request, kind.subject, kind.form)
        body = await read_json(request)
        received_ns = time.time_ns()
        events, unusable = [], []
        for place, fields in _operations(body):
            event = _event(kind, issuer_id, subject_id, received_ns, fields)
            if not event.operation_id:
                unusable.append(place)
                continue
            events.append(event)
            self._misfits.report(kind.message, fields)
        for event in events:
            await self._log.append(event)
        if unusable:
            # After the others are stored: D1 does not send again what gets a 400.
            raise FieldError(f"{unusable[0]}{d1.ThreeDSOperation.OPERATION_ID} must match {OPERATION_ID.pattern}")
        return any(map(is_unread, events))

    async def _noted(self, request: web.Request) -> None:
        if (stored := self._note(request)) is not None:
            await asyncio.wait((stored,), timeout=_NOTE_SECONDS)

    def _note(self, request: web.Request) -> "asyncio.Future[None] | None":
        issuer_id, card_id = request.match_info["issuerId"], request.match_info[_THREE_DS.subject]
        if self._missed is None or issuer_id not in self._issuers or not CARD_ID.fullmatch(card_id):
            return None
        return self._missed.note(issuer_id, card_id)


def _operations(body: dict[str, Any]) -> Iterator[tuple[str, Fields]]:
    """Yield the operations of a notification, each with its path in a batch. Fields beside the list count for each."""
    items = body.get(d1.BATCH)
    operation_id = body.get(d1.ThreeDSOperation.OPERATION_ID)
    if not isinstance(items, list) or (isinstance(operation_id, str) and OPERATION_ID.fullmatch(operation_id)):
        yield "", Fields(body)
        return
    common = {name: value for name, value in body.items() if name != d1.BATCH}
    for index, item in enumerate(items):
        yield f"{d1.BATCH}[{index}].", Fields({**common, **item} if isinstance(item, dict) else {})


def _event(kind: _Kind, issuer_id: str, subject_id: str, received_ns: int, fields: Fields) -> Event:
    notification = Notification(issuer_id=issuer_id, correlation_id=correlation.current())
    if kind.kind == EventKind.THREE_DS_OPERATION:
        parse_operation(fields, operation := notification.three_ds_operation)
        notification.card_id, notification.consumer_id = subject_id, operation.consumer_id
    else:
        parse_consumer_operation(fields, notification.consumer_operation)
        notification.consumer_id = subject_id
    return event_of(notification, received_ns)
