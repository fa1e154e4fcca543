"""The progress of a watch, and its reaction to interruptions. Without I/O."""

import logging
from collections import deque
from datetime import datetime, timedelta

from d1_gateway_client._retries import Backoff, is_transient
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
    """Return the first request of a watch.

    Raises:
        ValueError: More than one start is set.
    """
    if sum(given is not None for given in (after_cursor, position, since)) > 1:
        raise ValueError("after_cursor, position, since: set at most one")
    return WatchNotificationsRequest(
        issuer_id=issuer_id,
        subscription=subscription,
        after_cursor=after_cursor,
        position=position,
        since_time=since,
        filter=filter,
        max_batch_size=max_batch_size,
        heartbeat_interval=timedelta(seconds=heartbeat_seconds),
    )


class Progress:
    """The progress of a watch."""

    def __init__(self, request: WatchNotificationsRequest) -> None:
        self._request = request
        self._waiting: deque[Notification] = deque()
        self._has_begun = False
        """Whether a message has arrived."""
        self._batch_cursor = ""
        self._batch_token = 0
        self._cursor_token = 0
        """The fencing token under which `cursor` was received."""
        self._backoff = Backoff()
        self._uncommitted: dict[str, int] = {}
        """Cursors of a subscription's notifications handed out since the last commit, in order, with the fencing tokens
        under which they were received. The gateway sends these again after a reconnect."""
        self._last_committed: dict[str, int] = {}
        """The same of the notification committed last."""
        self._expected_again: set[str] = set()
        """Those of the uncommitted ones that have not arrived again yet."""
        self._is_renewed = False
        """Whether no notification has arrived since the watch began again at the committed cursor."""
        self.cursor = request.after_cursor or ""
        """Where to resume after what was handed out; empty if unknown."""
        self.role = WatcherRole.UNSPECIFIED
        self.fencing_token = 0
        """The highest fencing token received."""

    @property
    def silence_seconds(self) -> float:
        """Seconds of silence after which the watch reconnects."""
        interval = self._request.heartbeat_interval
        if interval is None:
            raise AssertionError("`start` sets it")
        return 2 * interval.total_seconds()

    def request(self) -> WatchNotificationsRequest:
        """Return the request that starts or resumes the watch."""
        self._expect_again()
        if not self._has_begun:
            return self._request
        resumed = WatchNotificationsRequest.parse(bytes(self._request))
        resumed.position = resumed.since_time = None
        # A subscription has a committed cursor by now: the gateway would refuse a start.
        resumed.after_cursor = None if self._request.subscription else self.cursor
        return resumed

    def take(self, response: WatchNotificationsResponse) -> None:
        """Accept a batch or a heartbeat, after everything before was handed out."""
        self._backoff.reset()
        self._has_begun = True
        if response.role is WatcherRole.ACTIVE and response.fencing_token < self.fencing_token:
            _log.warning("batch dropped: its watcher is no longer active")
            return
        if response.role is WatcherRole.STANDBY and self.role is WatcherRole.ACTIVE:
            # The gateway sends uncommitted notifications again, as after a reconnect.
            self._expect_again()
        self.role = response.role
        self.fencing_token = max(self.fencing_token, response.fencing_token)
        self._batch_cursor, self._batch_token = response.cursor, response.fencing_token
        if response.notifications:
            self._take_notifications(response)
        if self._waiting:
            self._expected_again.clear()
        elif not self._expected_again:
            self.cursor, self._cursor_token = response.cursor, response.fencing_token

    def next(self) -> Notification | None:
        """Return the next notification; None if none is waiting."""
        if not self._waiting:
            return None
        notification = self._waiting.popleft()
        self.cursor = notification.cursor if self._waiting else self._batch_cursor
        self._cursor_token = self._batch_token
        if self._request.subscription:
            self._uncommitted[notification.cursor] = self._batch_token
        return notification

    def commit(self, notification: Notification | None) -> CommitCursorRequest:
        """Return the request that commits a notification and those before it; None: all that were handed out.

        Raises:
            ValueError: The watch has no subscription, or has received nothing yet.
        """
        if not self._request.subscription:
            raise ValueError("A watch without a subscription cannot commit: keep `cursor` yourself")
        cursor = self.cursor if notification is None else notification.cursor
        if not cursor:
            raise ValueError("Nothing has been received yet")
        return CommitCursorRequest(
            issuer_id=self._request.issuer_id,
            subscription=self._request.subscription,
            cursor=cursor,
            fencing_token=self._cursor_token if notification is None else self._token(cursor),
        )

    def committed(self, notification: Notification | None) -> None:
        """Drop what was committed."""
        if notification is None:
            self._uncommitted.clear()
            self._expected_again.clear()
        elif notification.cursor in self._uncommitted:
            self._last_committed = {notification.cursor: self._token(notification.cursor)}
            while (first := next(iter(self._uncommitted))) != notification.cursor:
                del self._uncommitted[first]
            del self._uncommitted[first]

    def _expect_again(self) -> None:
        self._expected_again = set(self._uncommitted)
        self._is_renewed = True

    def _take_notifications(self, response: WatchNotificationsResponse) -> None:
        if self._is_renewed and response.notifications[0].cursor not in self._uncommitted:
            # The committed cursor was moved meanwhile. After a reset backwards, these are to be handed out once more.
            self._uncommitted.clear()
        self._is_renewed = False
        for each in response.notifications:
            if each.cursor in self._uncommitted:
                self._uncommitted[each.cursor] = response.fencing_token
            else:
                self._waiting.append(each)
            self._expected_again.discard(each.cursor)

    def _token(self, cursor: str) -> int:
        """Return the fencing token under which a notification was received.

        With a later one, its commit would undo a reset in between.
        """
        return self._uncommitted.get(cursor, self._last_committed.get(cursor, self.fencing_token))

    def interrupted(self, error: GatewayError | None) -> float:
        """Return the seconds to wait before the watch resumes.

        Args:
            error: The error of the stream; None if it fell silent or ended without one.

        Raises:
            GatewayError: Reconnecting does not help.
        """
        if error is not None and not is_transient(error):
            raise error
        pause = self._backoff.seconds(None if error is None else error.retry_after_seconds)
        _log.warning("watch interrupted, resuming in %.1f s: %s", pause, error or "no heartbeat")
        return pause
