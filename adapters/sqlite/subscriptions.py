"""The statements on subscriptions. The functions that change something run in the caller's transaction."""

import sqlite3

from gateway.ports import StoredSubscription

__all__ = ["commit", "delete", "find", "list_all", "list_of_issuer"]

_SELECT = "SELECT issuer_id, name, committed, commit_time_ms FROM subscription"


def find(connection: sqlite3.Connection, issuer_id: str, name: str) -> StoredSubscription | None:
    """Get a subscription; None if there is none."""
    row = connection.execute(f"{_SELECT} WHERE issuer_id = ? AND name = ?", (issuer_id, name)).fetchone()
    return None if row is None else StoredSubscription(*row)


def list_of_issuer(connection: sqlite3.Connection, issuer_id: str) -> list[StoredSubscription]:
    """List an issuer's subscriptions by name."""
    rows = connection.execute(f"{_SELECT} WHERE issuer_id = ? ORDER BY name", (issuer_id,))
    return [StoredSubscription(*row) for row in rows.fetchall()]


def list_all(connection: sqlite3.Connection) -> list[StoredSubscription]:
    """List the subscriptions of all issuers, by issuer and name."""
    rows = connection.execute(f"{_SELECT} ORDER BY issuer_id, name")
    return [StoredSubscription(*row) for row in rows.fetchall()]


def commit(
    connection: sqlite3.Connection, issuer_id: str, name: str, sequence: int, commit_time_ms: int
) -> StoredSubscription:
    """Move a subscription's cursor forward, making the subscription if there is none. Returns what stands now."""
    connection.execute(
        """
        INSERT INTO subscription (issuer_id, name, committed, commit_time_ms) VALUES (?, ?, ?, ?)
        ON CONFLICT (issuer_id, name) DO UPDATE
        SET committed = excluded.committed, commit_time_ms = excluded.commit_time_ms
        WHERE subscription.committed < excluded.committed
        """,
        (issuer_id, name, sequence, commit_time_ms),
    )
    row = connection.execute(f"{_SELECT} WHERE issuer_id = ? AND name = ?", (issuer_id, name)).fetchone()
    return StoredSubscription(*row)


def delete(connection: sqlite3.Connection, issuer_id: str, name: str) -> bool:
    """Forget a subscription. Returns whether there was one."""
    cursor = connection.execute("DELETE FROM subscription WHERE issuer_id = ? AND name = ?", (issuer_id, name))
    return cursor.rowcount == 1
