"""The leases of named subscriptions."""

import sqlite3
from collections.abc import Callable, Mapping

from adapters.sqlite.access import Access

__all__ = ["SqliteLeases"]


class _Lease:
    """Lasts until it is released or replaced: no other process uses the file, so none can take it."""

    def __init__(self, fencing_token: int) -> None:
        self.fencing_token = fencing_token
        self.has_ended = False

    def is_held(self) -> bool:
        return not self.has_ended


class SqliteLeases:
    """`gateway.ports.SubscriptionLeases` for the only gateway of a SQLite file: always granted.

    The file counts fencing tokens, one count for all subscriptions. So they grow over restarts, clock corrections and
    the deletion of a subscription. The clock sets the count's lower bound, so they also grow when the file is restored
    from a backup, or when an event log moves between engines.
    """

    def __init__(self, access: Access, now_ms: Callable[[], int]) -> None:
        """Use `SqliteStorage.open`."""
        self._access = access
        self._now_ms = now_ms
        self._watchers: dict[tuple[str, str], int] = {}
        self._leases: dict[tuple[str, str], _Lease] = {}

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        """Note the number of watchers. Without any, the lease ends."""
        if count:
            self._watchers[issuer_id, name] = count
        else:
            self._watchers.pop((issuer_id, name), None)
            self._end(issuer_id, name)

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> _Lease | None:
        """Acquire the lease, replacing an earlier one; None if all watchers left meanwhile. It is never lost.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE.
        """
        del on_loss
        now_ms = self._now_ms()
        lease = _Lease(await self._access.change(lambda connection: _next_fencing_token(connection, now_ms)))
        self._end(issuer_id, name)
        if (issuer_id, name) not in self._watchers:
            return None
        self._leases[issuer_id, name] = lease
        return lease

    async def wait_free(self, issuer_id: str, name: str) -> None:
        """Return immediately: no other process can hold it."""

    async def is_taken(self, issuer_id: str, name: str) -> bool:
        """Return whether this process holds the lease: no other can."""
        return (issuer_id, name) in self._leases

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        """Return the number of watchers of an issuer's subscriptions by name, without zeros."""
        return {name: count for (issuer, name), count in self._watchers.items() if issuer == issuer_id}

    def _end(self, issuer_id: str, name: str) -> None:
        lease = self._leases.pop((issuer_id, name), None)
        if lease is not None:
            lease.has_ended = True


def _next_fencing_token(connection: sqlite3.Connection, now_ms: int) -> int:
    row = connection.execute("UPDATE meta SET fence = max(fence + 1, ?) RETURNING fence", (now_ms,)).fetchone()
    fencing_token: int = row[0]
    return fencing_token
