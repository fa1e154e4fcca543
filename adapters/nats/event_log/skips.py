"""Damaged events of a stream, and which of them operators have skipped.

A message is not deleted, because readers take what is missing for trimmed, together with everything before it. The
stream's metadata lists the skipped ones, so that all gateways know them.
"""

from collections.abc import Collection
from typing import Final

import structlog

from adapters.nats.connection.connection import Connection
from adapters.nats.event_log.reader import Reader
from adapters.nats.jetstream.jetstream import api_request
from gateway.ports import EventDamagedError

__all__ = ["Skips"]

_SKIPPED: Final = "d1-gateway.skipped."
"""Followed by the log's identity. The value is the list of sequences."""
_ADVICE: Final = "Something has changed what was stored, or published it. Run d1-gateway log check, then log skip."

_log = structlog.get_logger(__name__)


class Skips:
    """The damaged events of a stream. Every method that waits raises `NatsError` on failure."""

    def __init__(self, connection: Connection, stream: str, reader: Reader) -> None:
        """Start without any.

        Args:
            connection: The connection to NATS.
            stream: The stream's name.
            reader: A reader of the same stream.
        """
        self._connection = connection
        self._stream = stream
        self._reader = reader
        self._damage: dict[str, None] = {}

    @property
    def damage(self) -> Collection[str]:
        """What was found damaged since the start, and was not skipped then."""
        return self._damage.keys()

    async def explain(self, sequence: int) -> EventDamagedError:
        """Return the error about a damaged event, which is logged once."""
        state = await self._reader.state()
        listed = state.config.get("metadata", {}).get(f"{_SKIPPED}{state.lineage.log_id}", "").split()
        is_skipped = str(sequence) in listed
        what = f"notification {sequence}"
        if is_skipped:
            self._damage.pop(what, None)
        elif what not in self._damage:
            self._damage[what] = None
            _log.error("event_log_damaged", what=what, advice=_ADVICE)
        return EventDamagedError(sequence, is_skipped=is_skipped)

    async def add(self, sequence: int) -> None:
        """Record that watchers may pass an event."""
        state = await self._reader.state()
        key = f"{_SKIPPED}{state.lineage.log_id}"
        config = dict(state.config)
        metadata = dict(config.get("metadata", {}))
        trimmed_through = state.bounds.trimmed_through
        kept = {int(each) for each in metadata.get(key, "").split() if int(each) > trimmed_through}
        metadata[key] = " ".join(map(str, sorted(kept | {sequence})))
        await api_request(self._connection, f"STREAM.UPDATE.{self._stream}", config | {"metadata": metadata})
