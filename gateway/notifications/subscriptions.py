"""Named subscriptions: commits move their cursors forward, resets anywhere.

A watcher that becomes active records its fencing token in the subscription. So a reset notices a watcher that became
active at the same time, at whichever gateway, and afterwards the commits of all earlier watchers are recognised.
"""

import time

from gateway.errors import GatewayError, shown
from gateway.notifications import cursor
from gateway.notifications.start import Start
from gateway.ports import EventLog, SubscriptionLeases
from issuer.common.v1 import error_pb2

__all__ = ["Subscriptions"]


class Subscriptions:
    """The cursors of named subscriptions. Every method may raise `GatewayError` with EVENT_LOG_UNAVAILABLE."""

    def __init__(self, log: EventLog, leases: SubscriptionLeases) -> None:
        self._log = log
        self._leases = leases

    async def begin(self, issuer_id: str, name: str, start: Start) -> int:
        """Return the committed sequence for a new watcher, after creating the subscription if it is new.

        Raises:
            GatewayError: SUBSCRIPTION_STARTED, CURSOR_UNKNOWN or CURSOR_EXPIRED.
        """
        while (subscription := await self._log.get_subscription(issuer_id, name)) is None:
            first = await start.sequence(self._log)
            if await self._log.create_subscription(issuer_id, name, first, _now_ms()):
                return first
        if start.is_given:
            raise GatewayError(
                error_pb2.ERROR_REASON_SUBSCRIPTION_STARTED,
                f"The subscription {shown(name)} has a committed cursor: leave start out to continue there, or move it "
                "with ResetSubscription.",
            )
        return subscription.committed

    async def activate(self, issuer_id: str, name: str, start: Start, fencing_token: int) -> int:
        """Return the committed sequence for a watcher that has acquired the lease.

        Raises:
            GatewayError: As `begin`, if the subscription was deleted.
        """
        while (subscription := await self._log.begin_watch(issuer_id, name, fencing_token)) is None:
            await self.begin(issuer_id, name, start)
        return subscription.committed

    async def commit(self, issuer_id: str, name: str, done: str, fencing_token: int) -> str:
        """Commit a cursor, and return the committed one: this one, or a later one.

        Args:
            issuer_id: The subscription's issuer.
            name: The subscription's name.
            done: The cursor to commit.
            fencing_token: That of the watcher; 0 if it is not to be checked.

        Raises:
            GatewayError: CURSOR_UNKNOWN or FENCING_TOKEN_STALE.
        """
        log = self._log
        bounds = await log.bounds()
        sequence = cursor.parse(done, log.log_id, bounds)
        stored = await log.commit(issuer_id, name, sequence, _now_ms(), fencing_token)
        if stored.is_stale(fencing_token):
            raise GatewayError(
                error_pb2.ERROR_REASON_FENCING_TOKEN_STALE,
                f"The subscription {shown(name)} was reset since this watcher became active: open the watch again, "
                "which begins at the new cursor.",
            )
        return cursor.encode(log.log_id, stored.committed)

    async def reset(self, issuer_id: str, name: str, target: Start, fencing_token: int) -> str:
        """Move a subscription's cursor, creating the subscription if needed, and return the committed cursor.

        Args:
            issuer_id: The subscription's issuer.
            name: The subscription's name.
            target: The place to move to.
            fencing_token: That of the active watcher; 0 if there is to be none.

        Raises:
            GatewayError: SUBSCRIPTION_IN_USE, FENCING_TOKEN_STALE, CURSOR_UNKNOWN or CURSOR_EXPIRED.
        """
        log = self._log
        latest = fencing_token or await self._unwatched(issuer_id, name)
        sequence = await target.sequence(log)
        # Nothing is awaited before this call starts, so the sequence belongs to the log that it changes.
        stored = await log.reset_subscription(issuer_id, name, sequence, _now_ms(), latest)
        if stored is not None:
            return cursor.encode(log.log_id, stored.committed)
        if not fencing_token:
            raise _in_use(name)
        raise GatewayError(
            error_pb2.ERROR_REASON_FENCING_TOKEN_STALE,
            f"This is not the fencing token of the latest watcher of the subscription {shown(name)}: send that one, or "
            "none while the subscription has no active watcher.",
        )

    async def _unwatched(self, issuer_id: str, name: str) -> int:
        """Return the latest fencing token of a subscription without an active watcher; 0 if it never had one.

        Raises:
            GatewayError: SUBSCRIPTION_IN_USE.
        """
        # First the token: a watcher that becomes active after the check of the lease changes it.
        subscription = await self._log.get_subscription(issuer_id, name)
        if await self._leases.is_taken(issuer_id, name):
            raise _in_use(name)
        return 0 if subscription is None else subscription.fencing_token


def _in_use(name: str) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_SUBSCRIPTION_IN_USE,
        f"The subscription {shown(name)} has an active watcher: stop the watcher first, or send its fencing token.",
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
