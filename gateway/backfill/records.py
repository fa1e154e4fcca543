"""What an automatic backfill remembers in the key-value store, so that a restart or another gateway goes on with it."""

import asyncio
import re
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Final, NamedTuple, TypeVar

import orjson

from gateway.backfill.state import Cause
from gateway.ports import KeyValueStore

__all__ = ["Alive", "Gap", "Progress", "Records", "Refused", "Stored", "copy_records"]

_SECONDS: Final = 366 * 86_400.0
"""The platform keeps its history for a year. What waits for longer is of no use."""

_COPIED_AT_ONCE: Final = 200

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")

_ROOT: Final = "backfill"
_ALIVE: Final = f"{_ROOT}.alive"
_SWEEP: Final = f"{_ROOT}.sweep"


_T = TypeVar("_T", "Alive", "Progress", "Refused", "Gap")


@dataclass(frozen=True, slots=True)
class Alive:
    """That notifications were taken until a time."""

    time_ms: int
    """In milliseconds since 1970 (UTC), like all times here."""
    log_id: str
    """The epoch of the event log."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time of which notifications of an issuer may be missing."""

    since_ms: int
    until_ms: int
    cause: Cause

    @property
    def name(self) -> str:
        """Tells it from others, also from one that is found anew with the same beginning."""
        return f"{self.since_ms}-{self.until_ms}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A card whose notifications were refused or could not be read, or whose history could not be read before."""

    since_ms: int
    """The time from which on its history is read."""
    due_ms: int
    """Not before this time: the platform may send the notification again."""
    attempts: int = 0
    """How often its history could not be read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run through an issuer's active cards has come."""

    gaps: Sequence[str]
    """The names of the gaps that it closes. A gap that is found later needs another run."""
    since_ms: int
    after: str = ""
    """The last card that is done, in the order of card ids."""
    total: int = 0
    """The number of cards."""
    done: int = 0
    """Of these, the ones that are done."""
    recovered: int = 0
    """Notifications that were appended."""
    failed: int = 0
    """Cards that could not be read."""


class Stored(NamedTuple):
    """The bytes of a record, without which none is deleted: it may have been replaced meanwhile."""

    key: str
    value: bytes


class Records:
    """The records. Every method raises `GatewayError` with STORE_UNAVAILABLE when the storage fails.

    Their keys are tokens joined by dots, so that the storage can list them; an id of a card is such a token. A record
    that is no longer as it was stored costs more reading, but is not lost.
    """

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    async def alive(self) -> Alive | None:
        """Return until when notifications were taken; None if that is unknown."""
        return _decode(Alive, await self._store.get(_ALIVE))

    async def put_alive(self, alive: Alive) -> None:
        """Note that notifications are taken."""
        await self._store.put(_ALIVE, _encode(alive), _SECONDS)

    async def swept_ms(self) -> int | None:
        """Return when the last sweep was due; None if there was none."""
        value = await self._store.get(_SWEEP)
        return int(value) if value is not None and value.isdigit() else None

    async def put_swept(self, time_ms: int) -> None:
        """Note that a sweep was due."""
        await self._store.put(_SWEEP, str(time_ms).encode(), _SECONDS)

    async def add_gap(self, issuer_id: str, gap: Gap) -> None:
        """Note a gap. It replaces one with the same beginning, which ended before; so a run does not delete it."""
        await self._store.put(f"{_gaps(issuer_id)}.{gap.since_ms}", _encode(gap), _SECONDS)

    async def gaps(self, issuer_id: str) -> dict[Stored, Gap]:
        """Return the gaps of an issuer."""
        found = {}
        for key in await self._store.keys(_gaps(issuer_id)):
            if (value := await self._store.get(key)) is not None:
                since_ms = int(key.rpartition(".")[2])
                found[Stored(key, value)] = _decode(Gap, value) or Gap(since_ms, since_ms, Cause.OUTAGE)
        return found

    async def gap_counts(self, issuer_ids: Iterable[str]) -> dict[str, int]:
        """Return the number of gaps of each issuer that has any."""
        counts = Counter(key.rpartition(".")[0] for key in await self._store.keys(f"{_ROOT}.gap"))
        return {issuer_id: count for issuer_id in issuer_ids if (count := counts[_gaps(issuer_id)])}

    async def progress(self, issuer_id: str) -> Progress | None:
        """Return how far the run of an issuer has come; None if there is none."""
        return _decode(Progress, await self._store.get(_progress(issuer_id)))

    async def put_progress(self, issuer_id: str, progress: Progress) -> None:
        """Note how far the run of an issuer has come."""
        await self._store.put(_progress(issuer_id), _encode(progress), _SECONDS)

    async def delete(self, stored: Stored) -> None:
        """Delete a record that is done, unless it was replaced."""
        await self._store.delete(*stored)

    async def refused_keys(self, issuer_id: str) -> Sequence[str]:
        """Return the keys of the refused cards of an issuer."""
        return await self._store.keys(_refused(issuer_id))

    async def refused(self, key: str) -> tuple[Stored, Refused] | None:
        """Return a refused card; None if it is done."""
        value = await self._store.get(key)
        return None if value is None else (Stored(key, value), _decode(Refused, value) or Refused(0, 0))

    async def add_refused(self, issuer_id: str, card_id: str, refused: Refused) -> None:
        """Note a refused card. One that waits is read from the earlier time on, when the later one is due.

        The record changes in any case, so a run that is reading the card does not delete it.
        """
        key = f"{_refused(issuer_id)}.{card_id}"
        value = await self._store.put_if_absent(key, _encode(refused), _SECONDS)
        if value is not None:
            earlier = _decode(Refused, value) or Refused(0, 0)
            both = replace(refused, since_ms=min(refused.since_ms, earlier.since_ms))
            await self._store.put(key, _encode(both), _SECONDS)

    async def add_active(self, issuer_id: str, card_id: str, seconds: float) -> None:
        """Note that a card is active, for a time."""
        await self._store.put(f"{_active(issuer_id)}.{card_id}", b"", seconds)

    async def active_cards(self, issuer_id: str) -> Sequence[str]:
        """Return the noted active cards of an issuer, in the order of their ids."""
        prefix = f"{_active(issuer_id)}."
        return [key.removeprefix(prefix) for key in await self._store.keys(_active(issuer_id))]


async def copy_records(source: KeyValueStore, target: KeyValueStore, *, active_card_seconds: float) -> None:
    """Copy what waits, how far it is, and which cards are active, to the store beside a copy of the event log.

    Not until when notifications were taken, nor the time of the last sweep: the newest notification of the copy tells
    since when it has none.

    Args:
        source: The store beside the log that was copied.
        target: The other one, which keeps what it has.
        active_card_seconds: How long the cards are active from now on.
    """
    for what in ("gap", "card", "progress", "active"):
        copy = partial(_copy, source, target, active_card_seconds if what == "active" else _SECONDS)
        keys = await source.keys(f"{_ROOT}.{what}")
        for start in range(0, len(keys), _COPIED_AT_ONCE):
            await asyncio.gather(*map(copy, keys[start : start + _COPIED_AT_ONCE]))


async def _copy(source: KeyValueStore, target: KeyValueStore, seconds: float, key: str) -> None:
    if (value := await source.get(key)) is not None:
        await target.put_if_absent(key, value, seconds)


def _encode(record: Alive | Gap | Refused | Progress) -> bytes:
    return orjson.dumps(asdict(record))


def _decode(form: type[_T], value: bytes | None) -> _T | None:
    """Return a record; None if there is none, or if it is not as this version wrote it."""
    try:
        fields = {} if value is None else orjson.loads(value)
        if "cause" in fields:
            fields["cause"] = Cause(fields["cause"])
        return form(**fields)
    except (TypeError, ValueError):
        return None


def _of_issuer(what: str, issuer_id: str) -> str:
    """Return the key of an issuer's record, or the prefix of them. An issuer's id is ten characters of any kind."""
    is_plain = _PLAIN.fullmatch(issuer_id) is not None
    # Longer than ten characters, so it cannot be another issuer's id.
    issuer = issuer_id if is_plain else urlsafe_b64encode(issuer_id.encode()).decode().rstrip("=")
    return f"{_ROOT}.{what}.{issuer}"


def _gaps(issuer_id: str) -> str:
    return _of_issuer("gap", issuer_id)


def _refused(issuer_id: str) -> str:
    return _of_issuer("card", issuer_id)


def _active(issuer_id: str) -> str:
    return _of_issuer("active", issuer_id)


def _progress(issuer_id: str) -> str:
    return _of_issuer("progress", issuer_id)
