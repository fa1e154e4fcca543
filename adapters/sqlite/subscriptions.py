"""The statements on subscriptions."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple
from typing import NamedTuple

from adapters.sqlite.checksums import checksum_of_subscription
from adapters.sqlite.damage import DamagedSubscriptionError
from adapters.sqlite.schema import SUBSCRIPTION_COLUMNS
from gateway.ports import StoredSubscription

__all__ = ["Found", "delete", "read", "read_one", "store"]

_BY_NAME = "WHERE issuer_id = ? AND name = ?"
_NUMBERS = SUBSCRIPTION_COLUMNS.removeprefix("issuer_id, name, ")


class Found(NamedTuple):
    """Subscriptions by issuer and name."""

    intact: Sequence[StoredSubscription]
    damaged: Sequence[DamagedSubscriptionError]
    """Those that are not what was stored, under the names that they have now."""


def read(connection: sqlite3.Connection, where: str = "", *values: str, limit: int | None = None) -> Found:
    """Read the subscriptions that meet a condition, up to a number of intact ones; with None all."""
    rows = connection.execute(
        # A damaged text may not be UTF-8.
        "SELECT CAST(issuer_id AS BLOB), CAST(name AS BLOB), "  # noqa: S608  constants
        f"{_NUMBERS}, checksum FROM subscription {where} ORDER BY issuer_id, name",
        values,
    )
    intact: list[StoredSubscription] = []
    damaged: list[DamagedSubscriptionError] = []
    with closing(rows):
        for issuer_id, name, *numbers, checksum in rows:
            if len(intact) == limit:
                break
            issuer, named = (
                bytes(issuer_id or b"").decode(errors="replace"),
                bytes(name or b"").decode(errors="replace"),
            )
            if checksum == checksum_of_subscription(issuer, named, *numbers):
                intact.append(StoredSubscription(issuer, named, *numbers))
            else:
                damaged.append(DamagedSubscriptionError(issuer, named))
    return Found(intact, damaged)


def read_one(connection: sqlite3.Connection, issuer_id: str, name: str) -> StoredSubscription | None:
    """Read a subscription; return None if there is none.

    Raises:
        DamagedSubscriptionError: It is not what was stored.
    """
    intact, damaged = read(connection, _BY_NAME, issuer_id, name)
    if damaged:
        raise damaged[0]
    return next(iter(intact), None)


def store(connection: sqlite3.Connection, subscription: StoredSubscription) -> None:
    """Store a subscription in place of any other of its name. Runs in the caller's transaction."""
    values = astuple(subscription)
    connection.execute(
        f"REPLACE INTO subscription ({SUBSCRIPTION_COLUMNS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  constants
        (*values, checksum_of_subscription(*values)),
    )


def delete(connection: sqlite3.Connection, issuer_id: str, name: str) -> bool:
    """Delete a subscription. Returns whether there was one. Runs in the caller's transaction."""
    return connection.execute(f"DELETE FROM subscription {_BY_NAME}", (issuer_id, name)).rowcount == 1  # noqa: S608  constant
