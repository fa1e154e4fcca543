"""The progress of a backfill, and its reaction to interruptions. Without I/O."""

import logging
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Final, TypeAlias

from d1_gateway_client._retries import Backoff, is_transient
from d1_gateway_client.contracts.issuer.notification.v1 import (
    BackfillNotificationsRequest,
    BackfillNotificationsResponse,
    BackfillPause,
    CardBackfill,
)
from d1_gateway_client.errors import ErrorReason, GatewayError

__all__ = ["ROUTE", "BackfillProgress", "Progress"]

ROUTE: Final = "/issuer.notification.v1.NotificationService/BackfillNotifications"

BackfillProgress: TypeAlias = CardBackfill | BackfillPause
"""A card that is done, its ``error`` set if it failed; or the start of a pause."""

_MAX_CARDS: Final = 1000
"""The most that the contract allows in one request."""

_log = logging.getLogger("d1_gateway_client")


class Progress:
    """Which cards of a backfill are left."""

    def __init__(self, card_ids: Iterable[str], since: datetime, issuer_id: str, max_attempts: int) -> None:
        """Begin with all cards.

        Args:
            card_ids: The cards; repeated ones count once.
            since: The time of the oldest operations to fetch.
            issuer_id: The issuer; empty if the gateway has only one.
            max_attempts: How often to call a gateway that has not sent a message yet.

        Raises:
            ValueError: The time has no time zone.
        """
        if since.tzinfo is None:
            raise ValueError("since: needs a time zone")
        self._left = dict.fromkeys(card_ids)
        self._since = since
        self._issuer_id = issuer_id
        self._max_attempts = max_attempts
        self._backoff = Backoff()
        self._failure_count = 0
        self._has_begun = False
        """Whether a message has arrived."""

    def request(self) -> BackfillNotificationsRequest | None:
        """Return the request for the next cards; None if none are left."""
        cards = [*islice(self._left, _MAX_CARDS)]
        if not cards:
            return None
        return BackfillNotificationsRequest(issuer_id=self._issuer_id, card_ids=cards, since_time=self._since)

    def take(self, response: BackfillNotificationsResponse) -> BackfillProgress | None:
        """Return what a message says; None if only a later version of the contract knows."""
        self._backoff.reset()
        self._has_begun = True
        if response.card is not None:
            self._left.pop(response.card.card_id, None)
        return response.card or response.pause

    def ended(self, request: BackfillNotificationsRequest, error: GatewayError | None) -> float:
        """Return the seconds to wait before the next request.

        Args:
            request: The request whose stream has ended.
            error: The error of the stream; None if it ended without one.

        Raises:
            GatewayError: Cards are left, and to request them again does not help.
        """
        if self._left.keys().isdisjoint(request.card_ids):
            return 0.0
        self._failure_count += 1
        if error is not None and not self._may_repeat(error):
            raise error
        pause = self._backoff.seconds(None if error is None else error.retry_after_seconds)
        _log.warning("backfill interrupted, resuming in %.1f s: %s", pause, error or "the stream ended early")
        return pause

    def _may_repeat(self, error: GatewayError) -> bool:
        # Between two requests of a long backfill, another stream may have taken the caller's last place.
        if not (is_transient(error) or error.reason is ErrorReason.TOO_MANY_REQUESTS):
            return False
        # A wrong address fails. What has begun survives an outage of the gateway, however long it is.
        return self._has_begun or self._failure_count < self._max_attempts
