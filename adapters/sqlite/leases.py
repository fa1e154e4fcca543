"""The leases of named subscriptions."""

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial

from adapters.sqlite.access import Access

__all__ = ["SqliteLeases"]


class _Lease:
    """Stands until it is given back or replaced: the file has no other user who could take it."""

    def __init__(self, fencing_token: int) -> None:
        self.fencing_token = fencing_token
        self.has_ended = False

    def is_held(self) -> bool:
        return not self.has_ended


class SqliteLeases:
    """`gateway.ports.SubscriptionLeases` for the one gateway that a SQLite file has: always granted.

    Fences are counted in the file, one count for all subscriptions, so that they grow over restarts, whatever the
    clock does, and over the end of a subscription. The clock only says where the count may not be below: so they also
    grow when the file is put back from a backup, or when an event log moves from one engine to another.
    """

    def __init__(self, access: Access, now_ms: Callable[[], int]) -> None:
        """Use `SqliteStorage.open`."""
        self._access = access
        self._now_ms = now_ms
        self._watchers: dict[tuple[str, str], int] = {}
        self._leases: dict[tuple[str, str], _Lease] = {}

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        """Note how many watchers there are. Without any, the lease is over."""
        if count:
            self._watchers[issuer_id, name] = count
        else:
            self._watchers.pop((issuer_id, name), None)
            self._end(issuer_id, name)

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> _Lease | None:
        """Get the lease, in the place of an earlier one; None if all watchers left meanwhile. It is never lost.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE.
        """
        del on_loss
        lease = _Lease(await self._access.change(partial(_next_fence, now_ms=self._now_ms())))
        self._end(issuer_id, name)
        if (issuer_id, name) not in self._watchers:
            return None
        self._leases[issuer_id, name] = lease
        return lease

    async def wait_free(self, issuer_id: str, name: str) -> None:
        """Return at once: nobody else can have it."""

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        """Tell how many watchers an issuer's subscriptions have by name, without those of none."""
        return {name: count for (issuer, name), count in self._watchers.items() if issuer == issuer_id}

    def _end(self, issuer_id: str, name: str) -> None:
        lease = self._leases.pop((issuer_id, name), None)
        if lease is not None:
            lease.has_ended = True


def _next_fence(connection: sqlite3.Connection, now_ms: int) -> int:
    row = connection.execute("UPDATE meta SET fence = max(fence + 1, ?) RETURNING fence", (now_ms,)).fetchone()
    fence: int = row[0]
    return fence
