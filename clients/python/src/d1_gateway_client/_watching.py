"""How far a watch has come, and what to do when it is interrupted. Does no I/O itself."""

import logging
from collections import deque
from datetime import datetime, timedelta

from d1_gateway_client._retries import Backoff, is_passing
from d1_gateway_client.contracts.issuer.notification.v1 import (
    CommitCursorRequest,
    Notification,
    NotificationFilter,
    StartPosition,
    WatcherRole,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)
from d1_gateway_client.errors import GatewayError

__all__ = ["ROUTE", "Progress", "start"]

ROUTE = "/issuer.notification.v1.NotificationService/WatchNotifications"

_log = logging.getLogger("d1_gateway_client")


def start(
    *,
    issuer_id: str,
    subscription: str,
    after_cursor: str | None,
    position: StartPosition | None,
    since: datetime | None,
    filter: NotificationFilter | None,  # noqa: A002 (the contract's word)
    max_batch_size: int,
    heartbeat_seconds: float,
) -> WatchNotificationsRequest:
    """Make the request with which a watch begins.

    Raises:
        ValueError: It is told to begin in more than one place.
    """
    if sum(given is not None for given in (after_cursor, position, since)) > 1:
        raise ValueError("after_cursor, position, since: say one of them")
    return WatchNotificationsRequest(
        issuer_id=issuer_id,
        subscription=subscription,
        after_cursor=after_cursor,
        position=position,
        since=since,
        filter=filter,
        max_batch_size=max_batch_size,
        heartbeat_interval=timedelta(seconds=heartbeat_seconds),
    )


class Progress:
    """How far a watch has come."""

    def __init__(self, request: WatchNotificationsRequest) -> None:
        self._request = request
        self._waiting: deque[Notification] = deque()
        self._batch_cursor = ""
        self._backoff = Backoff()
        self._uncommitted: dict[str, None] = {}
        """What a subscription's watch has handed out since its last commit, in order: it is sent that again when it
        comes back."""
        self._to_come_again: set[str] = set()
        """Which of these have not come again yet."""
        self.cursor = request.after_cursor or ""
        """Where to go on after what was handed out; empty while that is not known."""
        self.role = WatcherRole.UNSPECIFIED
        self.fence = 0
        """The highest fence received."""

    @property
    def silence_seconds(self) -> float:
        """After how much silence the link is given up."""
        interval = self._request.heartbeat_interval
        if interval is None:
            raise AssertionError("`start` sets it")
        return 2 * interval.total_seconds()

    def request(self) -> WatchNotificationsRequest:
        """Make the request with which to begin, or to go on."""
        self._to_come_again = set(self._uncommitted)
        if not self.cursor:
            return self._request
        going_on = WatchNotificationsRequest.parse(bytes(self._request))
        going_on.position = going_on.since = None
        going_on.after_cursor = self.cursor
        return going_on

    def take(self, response: WatchNotificationsResponse) -> None:
        """Take a batch or a heartbeat. Everything before must have been handed out."""
        self._backoff.reset()
        if response.role is WatcherRole.ACTIVE and response.fence < self.fence:
            _log.warning("batch dropped: it is of a watcher that has lost its place")
            return
        if response.role is WatcherRole.STANDBY and self.role is WatcherRole.ACTIVE:
            # What is not committed is sent again, as after a break.
            self._to_come_again = set(self._uncommitted)
        self.role = response.role
        self.fence = max(self.fence, response.fence)
        self._batch_cursor = response.cursor
        self._waiting.extend(each for each in response.notifications if each.cursor not in self._uncommitted)
        self._to_come_again.difference_update(each.cursor for each in response.notifications)
        if self._waiting:
            self._to_come_again.clear()
        elif not self._to_come_again:
            self.cursor = response.cursor

    def next(self) -> Notification | None:
        """Hand the next notification out; None if none is waiting."""
        if not self._waiting:
            return None
        notification = self._waiting.popleft()
        self.cursor = notification.cursor if self._waiting else self._batch_cursor
        if self._request.subscription:
            self._uncommitted[notification.cursor] = None
        return notification

    def commit(self, notification: Notification | None) -> CommitCursorRequest:
        """Make the request that commits a notification and those before it; None: all that were handed out.

        Raises:
            ValueError: The watch has no subscription, or has not begun.
        """
        if not self._request.subscription:
            raise ValueError("Only the watch of a subscription can commit: keep `cursor` yourself")
        cursor = self.cursor if notification is None else notification.cursor
        if not cursor:
            raise ValueError("Nothing has been received yet")
        return CommitCursorRequest(
            issuer_id=self._request.issuer_id, subscription=self._request.subscription, cursor=cursor
        )

    def committed(self, notification: Notification | None) -> None:
        """Forget what was committed."""
        if notification is None:
            self._uncommitted.clear()
            self._to_come_again.clear()
        elif notification.cursor in self._uncommitted:
            while (first := next(iter(self._uncommitted))) != notification.cursor:
                del self._uncommitted[first]
            del self._uncommitted[first]

    def interrupted(self, error: GatewayError | None) -> float:
        """Say after how many seconds to go on.

        Args:
            error: How the stream ended; None if it fell silent or ended without an error.

        Raises:
            GatewayError: That cannot be mended by going on.
        """
        if error is not None and not is_passing(error):
            raise error
        pause = self._backoff.seconds(None if error is None else error.retry_after_seconds)
        _log.warning("watch interrupted, going on in %.1f s: %s", pause, error or "no heartbeat")
        return pause
