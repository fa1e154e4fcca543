"""Where a watch begins, or where a reset moves a subscription to."""

from dataclasses import dataclass

from gateway.notifications import cursor
from gateway.ports import EventLog

__all__ = ["Start"]


@dataclass(frozen=True, slots=True)
class Start:
    """A place in the event log: after a cursor, at a time, or at one of the log's ends; if not given, at the latest."""

    after_cursor: str | None = None
    since_ms: int | None = None
    earliest: bool = False
    latest: bool = False

    @property
    def is_given(self) -> bool:
        """Whether the caller chose the place."""
        return self != Start()

    async def sequence(self, log: EventLog) -> int:
        """Return the sequence to read after.

        Raises:
            GatewayError: CURSOR_UNKNOWN or CURSOR_EXPIRED.
        """
        bounds = await log.bounds()
        if self.after_cursor is not None:
            sequence = cursor.parse(self.after_cursor, log.log_id, bounds)
            cursor.check_kept(sequence, log.log_id, bounds)
            return sequence
        if self.since_ms is not None:
            return max(bounds.trimmed_through, await log.sequence_before(self.since_ms))
        return bounds.trimmed_through if self.earliest else bounds.last
