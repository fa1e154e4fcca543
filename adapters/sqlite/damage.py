"""Damage: what the file no longer holds as it was stored, and how it is found."""

import sqlite3
from collections.abc import Collection

import structlog

__all__ = ["DamagedEventError", "DamagedSubscriptionError", "KnownDamage", "is_corruption"]

_OF_EVENT = "Run d1-gateway log check, then stop the gateway and restore the event log or skip the notification."
_OF_SUBSCRIPTION = "Delete the subscription while the gateway runs, then reset it to before what was not processed."
_OF_STRUCTURE = "Stop the gateway, then run d1-gateway log restore with a backup, or move the file away to start anew."

_log = structlog.get_logger(__name__)


class DamagedEventError(sqlite3.DatabaseError):
    """The next event is not what was stored, or is missing."""

    def __init__(self, sequence: int, *, is_skipped: bool) -> None:
        """Name the event.

        Args:
            sequence: Its sequence.
            is_skipped: Whether an operator has decided to go without it.
        """
        super().__init__(f"notification {sequence}")
        self.sequence = sequence
        self.is_skipped = is_skipped


class DamagedSubscriptionError(sqlite3.DatabaseError):
    """A subscription is not what was stored."""

    def __init__(self, issuer_id: str, name: str) -> None:
        """Name the subscription, as far as its name can be trusted."""
        super().__init__(f"subscription {name} of {issuer_id}")
        self.name = name


def is_corruption(error: sqlite3.Error) -> bool:
    """Return whether SQLite has found the file itself damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class KnownDamage:
    """The damage that was found since the start; each is logged once."""

    def __init__(self) -> None:
        """Start without any."""
        self._found: dict[str, sqlite3.Error] = {}

    @property
    def found(self) -> Collection[str]:
        """Each in a few words."""
        return self._found.keys()

    @property
    def in_events(self) -> Collection[str]:
        """All but that of subscriptions."""
        return [what for what, error in self._found.items() if not isinstance(error, DamagedSubscriptionError)]

    def forget(self, error: sqlite3.Error) -> None:
        """Forget what was mended."""
        self._found.pop(str(error), None)

    def note(self, error: sqlite3.Error) -> None:
        """Note what was found."""
        what, advice = str(error), _OF_EVENT
        if is_corruption(error):
            what, advice = f"structure ({error})", _OF_STRUCTURE
        elif isinstance(error, DamagedSubscriptionError):
            advice = _OF_SUBSCRIPTION
        if what not in self._found:
            self._found[what] = error
            _log.error("event_log_damaged", what=what, advice=advice)
