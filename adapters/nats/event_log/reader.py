"""Reading the event log. Whatever a server leaves out is noticed.

The sequences of a stream have no gaps, but for what was removed. Events are read in batches, from any server that has
a copy (NATS ADR-31, "Direct Get"); a copy may lag behind, or be a moment ahead in removing. Where a batch does not
begin where the last one ended, the leader is asked what is true.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.event_log.envelope import unpack
from adapters.nats.jetstream.jetstream import JetStreamError, ask
from adapters.nats.jetstream.lineage import Lineage
from gateway.ports import LogBounds, StoredEvent

__all__ = ["Landmark", "Reader", "State"]

_BATCH_BYTES: Final = 1_048_576
"""How many bytes one batch takes, but for its last event: a reader may hold them for long."""
_ATTEMPTS: Final = 40
_PAUSE_SECONDS: Final = 0.025
_ANY: Final = ">"
_CLOCK_MARGIN_MS: Final = 5000
"""How far receive times may be out of order: the clocks of gateways differ, and so do their ways to the stream."""
_DISAGREE: Final = "The copies of its stream at NATS do not agree."


class Landmark(NamedTuple):
    """An event by which a stream is known again."""

    sequence: int
    """Its place."""
    subject: str
    """No other event of the log has it. Empty where only the place is known."""
    time_ms: int
    """When a gateway took it, or a little later: milliseconds since 1970 (UTC)."""


@dataclass(frozen=True, slots=True)
class State:
    """What the leader says of a stream."""

    config: Mapping[str, Any]
    """How the stream is set up."""
    lineage: Lineage
    """Which log it holds."""
    bounds: LogBounds
    """What it holds of it."""
    last_time_ms: int
    """When the last event was stored, in milliseconds since 1970 (UTC)."""

    @property
    def last(self) -> int:
        """The last sequence."""
        return self.bounds.last


class Reader:
    """Reads the events of a stream. Every method raises `NatsError` if it cannot be done."""

    def __init__(self, connection: Connection, stream: str, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        """Read a stream that is there already.

        Args:
            connection: The way to NATS.
            stream: Its name.
            pause_seconds: How long to wait for copies that do not agree, before each of many attempts.
        """
        self._connection = connection
        self._stream = stream
        self._pause_seconds = pause_seconds
        self.size_bytes = 0
        """How large the stream was at the last look."""

    async def look(self) -> State:
        """Ask the leader what the stream holds."""
        info = await ask(self._connection, f"STREAM.INFO.{self._stream}")
        state = info["state"]
        self.size_bytes = state["bytes"]
        return State(
            config=info["config"],
            lineage=Lineage.of(info["config"]),
            bounds=LogBounds(max(0, state["first_seq"] - 1), state["last_seq"]),
            last_time_ms=_parse_time_ms(state["last_ts"]),
        )

    async def find(self, sequence: int, subjects: str = _ANY) -> StoredEvent | None:
        """Ask the leader for the first event of some subjects that has this sequence or a later one."""
        wanted = {"seq": sequence, "next_by_subj": subjects}
        try:
            message = (await ask(self._connection, f"STREAM.MSG.GET.{self._stream}", wanted))["message"]
        except JetStreamError as error:
            if error.number in JetStreamError.NOT_FOUND:
                return None
            raise
        return StoredEvent(message["seq"], unpack(base64.b64decode(message["data"])))

    async def landmark(self, sequence: int) -> Landmark | None:
        """Ask the leader for what stands at a sequence; None if nothing does."""
        try:
            message = (await ask(self._connection, f"STREAM.MSG.GET.{self._stream}", {"seq": sequence}))["message"]
        except JetStreamError as error:
            if error.number in JetStreamError.NOT_FOUND:
                return None
            raise
        return Landmark(sequence, message["subject"], _parse_time_ms(message["time"]))

    async def before(self, bounds: LogBounds, receive_time_ms: int) -> int:
        """Tell up to which sequence every event was taken before a time, however the neighbours are mixed up.

        Those directly behind it may have been, too.
        """
        after, through = bounds.trimmed_through, bounds.last
        while after < through:
            middle = (after + through) // 2
            found = await self.find(middle + 1)
            if found is None or found.event.receive_time_ms >= receive_time_ms - _CLOCK_MARGIN_MS:
                through = middle
            else:
                after = found.sequence
        return after

    async def holds(self, subject: str) -> bool:
        """Ask the leader whether there is an event of a subject."""
        try:
            await ask(self._connection, f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject})
        except JetStreamError as error:
            if error.number in JetStreamError.NOT_FOUND:
                return False
            raise
        return True

    async def read(self, after: int, limit: int, last: int, hinted: int) -> tuple[Sequence[StoredEvent], int]:
        """Read events after a sequence.

        Args:
            after: The place to read after.
            limit: How many at most.
            last: A sequence that the stream is known to have reached.
            hinted: One that it is said to have reached: where a copy has less, the leader is believed.

        Returns:
            The events, without a gap between them; and up to where the stream is found to be trimmed, 0 if it is not.
        """
        for _ in range(_ATTEMPTS):
            found = await self._batch(after + 1, limit, None)
            begin = found[0].sequence if found else None
            if begin == after + 1 or (begin is None and after >= max(last, hinted)):
                return found, 0
            # Removed, or not yet there where it was read, or lost on the way.
            first = await self.find(after + 1)
            if first is None:
                if (await self.look()).last >= last:
                    return (), last if after < last else 0
            elif first.sequence > after + 1 and (begin is None or begin <= first.sequence):
                return found, (begin or first.sequence) - 1
            await asyncio.sleep(self._pause_seconds)
        raise RequestTimeoutError(_DISAGREE)

    async def read_subjects(
        self, after: int, limit: int, subjects: str, last: int
    ) -> tuple[Sequence[StoredEvent], LogBounds]:
        """Read the events of some subjects after a sequence.

        Args:
            after: The place to read after.
            limit: How many at most.
            subjects: Whose, as a pattern.
            last: A sequence that the stream is known to have reached.

        Returns:
            The events, none only if there is none up to ``last``; and what the stream held after that.
        """
        for _ in range(_ATTEMPTS):
            first = await self.find(after + 1, subjects)
            found = () if first is None else await self._batch(first.sequence, limit, subjects)
            bounds = (await self.look()).bounds
            if bounds.last >= last and (first is None or (found and found[0].sequence == first.sequence)):
                return found, bounds
            await asyncio.sleep(self._pause_seconds)
        raise RequestTimeoutError(_DISAGREE)

    async def _batch(self, sequence: int, limit: int, subjects: str | None) -> Sequence[StoredEvent]:
        """Read from one of the copies, up to where it leaves something out."""
        wanted: dict[str, object] = {"seq": sequence, "batch": limit, "max_bytes": _BATCH_BYTES}
        if subjects is not None:
            wanted["next_by_subj"] = subjects
        subject, body = f"$JS.API.DIRECT.GET.{self._stream}", orjson.dumps(wanted)
        try:
            messages = await self._connection.gather(subject, body, _is_end)
        except RequestTimeoutError:
            # Any of the copies answers. One whose server hangs is asked until the others have noticed.
            messages = await self._connection.gather(subject, body, _is_end)
        found: list[StoredEvent] = []
        previous = 0
        for message in messages:
            headers = message.headers or {}
            if _is_end(message):
                break
            place = int(headers["Nats-Sequence"])
            # Each tells which one came before it in the batch.
            if found and (int(headers["Nats-Last-Sequence"]) != previous or (not subjects and place != previous + 1)):
                break
            found.append(StoredEvent(place, unpack(message.data)))
            previous = place
        return found


def _is_end(message: Msg) -> bool:
    return not message.data and message.headers is not None and "Status" in message.headers


def _parse_time_ms(text: str) -> int:
    # Go writes up to nine digits of a second, of which Python's parser leaves out what it has no use for.
    return round(datetime.fromisoformat(text).timestamp() * 1000)
