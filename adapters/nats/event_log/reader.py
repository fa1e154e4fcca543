"""Reads of the event log, complete even if a server omits messages.

The sequences of a stream have no gaps, except for removed messages. Events are read in batches, from any server with a
replica (NATS ADR-31, "Direct Get"). A replica may lag behind the leader, or remove messages slightly earlier. If a
batch does not begin where the last one ended, the leader decides.
"""

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.event_log.envelope import CHECKSUM, STATE, DamagedMessageError, unpack
from adapters.nats.jetstream.jetstream import JetStreamError, api_request
from adapters.nats.jetstream.lineage import Lineage
from gateway.ports import Event, EventIdentity, LogBounds, StoredEvent

__all__ = ["Landmark", "Reader", "State"]

_MAX_BATCH_BYTES: Final = 1_048_576
"""Size after which a batch ends: readers may hold it for long."""
_MAX_ATTEMPTS: Final = 40
_PAUSE_SECONDS: Final = 0.025
_ANY: Final = ">"
_CLOCK_MARGIN_MS: Final = 5000
"""Tolerated disorder of receive times: gateways' clocks and their latencies to the stream differ."""
_HEADER_LINE: Final = re.compile(rb"^(%b|%b): *(\S+)\r$" % (STATE.encode(), CHECKSUM.encode()), re.MULTILINE)
_DISAGREE: Final = "The replicas of its stream at NATS do not agree."


class Landmark(NamedTuple):
    """An event that identifies a stream's content."""

    sequence: int
    """Its sequence."""
    subject: str
    """Its subject, which other states of the same operation share; empty if unknown."""
    time_ms: int
    """When a gateway received it, or slightly later: milliseconds since 1970 (UTC)."""
    identity: EventIdentity | None = None
    """Its identity, unique in the log; None if unknown."""

    def differs(self, other: "Landmark") -> bool:
        """Return whether another event is known to be in its place."""
        if None not in (self.identity, other.identity):
            return self.identity != other.identity
        return self.subject != other.subject


@dataclass(frozen=True, slots=True)
class State:
    """The state of a stream according to its leader."""

    config: Mapping[str, Any]
    """The stream's configuration."""
    lineage: Lineage
    """The identities of its log."""
    bounds: LogBounds
    """The bounds of its log."""
    last_time_ms: int
    """When the last event was stored, in milliseconds since 1970 (UTC)."""

    @property
    def last(self) -> int:
        """The last sequence."""
        return self.bounds.last


class Reader:
    """Reads the events of a stream. Every method raises `NatsError` on failure."""

    def __init__(self, connection: Connection, stream: str, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        """Read an existing stream.

        Args:
            connection: The connection to NATS.
            stream: The stream's name.
            pause_seconds: Pause before each new attempt while replicas disagree.
        """
        self._connection = connection
        self._stream = stream
        self._pause_seconds = pause_seconds
        self.size_bytes = 0
        """The stream's size at the last call of `state`."""

    async def state(self) -> State:
        """Return the stream's state from the leader."""
        info = await api_request(self._connection, f"STREAM.INFO.{self._stream}")
        state = info["state"]
        self.size_bytes = state["bytes"]
        return State(
            config=info["config"],
            lineage=Lineage.of(info["config"]),
            bounds=LogBounds(max(0, state["first_seq"] - 1), state["last_seq"]),
            last_time_ms=_parse_time_ms(state["last_ts"]),
        )

    async def find(self, sequence: int, subjects: str = _ANY) -> StoredEvent | None:
        """Return the first event from a sequence on whose subject matches a pattern, from the leader."""
        message = await self._message({"seq": sequence, "next_by_subj": subjects})
        return None if message is None else StoredEvent(message["seq"], _parse_event(message))

    async def landmark(self, sequence: int) -> Landmark | None:
        """Return the event at a sequence as a landmark, from the leader; None if there is none."""
        message = await self._message({"seq": sequence})
        if message is None:
            return None
        return Landmark(sequence, message["subject"], _parse_time_ms(message["time"]), _identity(message))

    async def look_up(self, event: Event, subject: str) -> tuple[bool, int]:
        """Look for an event among those of its subject, at the leader.

        Returns:
            Whether it is there, and the sequence of the subject's last event, 0 for none.
        """
        last = await self._message({"last_by_subj": subject})
        if last is None:
            return False, 0
        end: int = last["seq"]
        is_held, at = _identity(last) == event.identity, 0
        # Few states of an operation come before.
        while not is_held and (found := await self._message({"seq": at + 1, "next_by_subj": subject})):
            at, is_held = found["seq"], _identity(found) == event.identity
            if at >= end:
                break
        return is_held, end

    async def sequence_before(self, bounds: LogBounds, receive_time_ms: int) -> int:
        """Return a sequence up to which every event was received before a time, even if neighbours are out of order.

        Events directly after it may have been received before that time, too.
        """
        after, through = bounds.trimmed_through, bounds.last
        while after < through:
            middle = (after + through) // 2
            found = await self._message({"seq": middle + 1, "next_by_subj": _ANY})
            if found is None or _receive_time_ms(found) >= receive_time_ms - _CLOCK_MARGIN_MS:
                through = middle
            else:
                after = found["seq"]
        return after

    async def read(self, after: int, limit: int, last: int, hinted: int) -> tuple[Sequence[StoredEvent], int]:
        """Read events after a sequence.

        Args:
            after: The sequence to read after.
            limit: Maximum number of events.
            last: A sequence that the stream is known to have reached.
            hinted: A sequence that it has allegedly reached. If a replica has less, the leader decides.

        Returns:
            The events, without gaps; and the sequence up to which the stream was found to be trimmed, 0 if it was not.
        """
        for _ in range(_MAX_ATTEMPTS):
            try:
                found = await self._batch(after + 1, limit, None)
            except DamagedMessageError as error:
                if error.sequence == after + 1:
                    raise
                # Either those before it are removed, and then the leader finds it too, or the replica lags behind.
                await self.find(after + 1)
                await asyncio.sleep(self._pause_seconds)
                continue
            begin = found[0].sequence if found else None
            if begin == after + 1 or (begin is None and after >= max(last, hinted)):
                return found, 0
            # The event was removed, has not reached the replica, or was lost on the way.
            first = await self.find(after + 1)
            if first is None:
                if (await self.state()).last >= last:
                    return (), last if after < last else 0
            elif first.sequence > after + 1 and (begin is None or begin <= first.sequence):
                return found, (begin or first.sequence) - 1
            await asyncio.sleep(self._pause_seconds)
        raise RequestTimeoutError(_DISAGREE)

    async def read_subjects(
        self, after: int, limit: int, subjects: str, last: int
    ) -> tuple[Sequence[StoredEvent], LogBounds]:
        """Read the events after a sequence whose subjects match a pattern.

        Args:
            after: The sequence to read after.
            limit: Maximum number of events.
            subjects: The pattern.
            last: A sequence that the stream is known to have reached.

        Returns:
            The events, none only if there are none up to ``last``; and the stream's bounds after the read.
        """
        for _ in range(_MAX_ATTEMPTS):
            first = await self.find(after + 1, subjects)
            found = () if first is None else await self._batch(first.sequence, limit, subjects)
            bounds = (await self.state()).bounds
            if bounds.last >= last and (first is None or (found and found[0].sequence == first.sequence)):
                return found, bounds
            await asyncio.sleep(self._pause_seconds)
        raise RequestTimeoutError(_DISAGREE)

    async def _message(self, wanted: Mapping[str, object]) -> Mapping[str, Any] | None:
        try:
            response = await api_request(self._connection, f"STREAM.MSG.GET.{self._stream}", wanted)
        except JetStreamError as error:
            if error.number in JetStreamError.NOT_FOUND:
                return None
            raise
        message: Mapping[str, Any] = response["message"]
        return message

    async def _batch(self, sequence: int, limit: int, subjects: str | None) -> Sequence[StoredEvent]:
        """Read from one of the replicas, up to its first omission."""
        wanted: dict[str, object] = {"seq": sequence, "batch": limit, "max_bytes": _MAX_BATCH_BYTES}
        if subjects is not None:
            wanted["next_by_subj"] = subjects
        subject, body = f"$JS.API.DIRECT.GET.{self._stream}", orjson.dumps(wanted)
        try:
            messages = await self._connection.gather(subject, body, _is_end)
        except RequestTimeoutError:
            # A server that hangs gets requests until the others have noticed. Another replica may respond now.
            messages = await self._connection.gather(subject, body, _is_end)
        found: list[StoredEvent] = []
        previous = 0
        for message in messages:
            headers = message.headers or {}
            if _is_end(message):
                break
            current = int(headers["Nats-Sequence"])
            # Each message names its predecessor in the batch.
            if found and (int(headers["Nats-Last-Sequence"]) != previous or (not subjects and current != previous + 1)):
                break
            try:
                found.append(StoredEvent(current, unpack(message.data, headers)))
            except ValueError as error:
                if found:
                    break
                raise DamagedMessageError(current) from error
            previous = current
        return found


def _is_end(message: Msg) -> bool:
    return not message.data and message.headers is not None and "Status" in message.headers


def _parse_event(message: Mapping[str, Any]) -> Event:
    lines = _HEADER_LINE.findall(base64.b64decode(message.get("hdrs", "")))
    headers = {name.decode(): value.decode() for name, value in lines}
    try:
        return unpack(base64.b64decode(message.get("data", "")), headers)
    except ValueError as error:
        raise DamagedMessageError(message["seq"]) from error


def _identity(message: Mapping[str, Any]) -> EventIdentity | None:
    """Return the identity of a message's event; None if it is damaged."""
    try:
        return _parse_event(message).identity
    except DamagedMessageError:
        return None


def _receive_time_ms(message: Mapping[str, Any]) -> int:
    """Return when the event of a message was received; if it is damaged, when it was stored."""
    try:
        return _parse_event(message).receive_time_ms
    except DamagedMessageError:
        return _parse_time_ms(message["time"])


def _parse_time_ms(text: str) -> int:
    # Go writes up to nine digits of a second. Python's parser drops those beyond six.
    return round(datetime.fromisoformat(text).timestamp() * 1000)
