"""The cursors of named subscriptions: an entry each, changed by compare-and-set only.

Each entry names its event log, so that a cursor of an earlier log is never taken for one of the present log, whichever
gateway committed it and however late.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import orjson

from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.lineage import Lineage
from adapters.nats.jetstream.streams import text, token
from gateway.ports import StoredSubscription

__all__ = ["Subscriptions"]

_MAX_ATTEMPTS = 50
_PAUSE_SECONDS = 0.02
_LOG_ID = "log_id"


class _Known(NamedTuple):
    """The entry as last read or written."""

    subscription: StoredSubscription | None
    revision: int


class Subscriptions:
    """The cursors that all gateways share. Every method that waits raises `NatsError` on failure."""

    def __init__(self, bucket: Bucket) -> None:
        """Use `NatsStorage.open`."""
        self._bucket = bucket
        self._lineage = Lineage("", {})
        self._known: dict[str, _Known] = {}

    def use(self, lineage: Lineage) -> None:
        """Use a log from now on. Cursors of its earlier identities count up to the last sequence that they share."""
        self._lineage = lineage
        self._known.clear()

    async def get(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Return a subscription, or None."""
        return (await self._load(_key(issuer_id, name))).subscription

    async def list(self, issuer_id: str | None) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name."""
        keys = await self._bucket.keys(f"{'*' if issuer_id is None else token(issuer_id)}.*")
        found = await asyncio.gather(*(self._load(key) for key in keys))
        listed = (each.subscription for each in found if each.subscription)
        return sorted(listed, key=lambda each: (each.issuer_id, each.name))

    async def page(self, issuer_id: str, after: str, limit: int) -> Sequence[StoredSubscription]:
        """List at most ``limit`` of an issuer's subscriptions by name, after a name, without reading the others."""
        keys = await self._bucket.keys(f"{token(issuer_id)}.*")
        named = sorted((text(key.rpartition(".")[2]), key) for key in keys)
        left = [key for name, key in named if name > after]
        page: list[StoredSubscription] = []
        while left and len(page) < limit:
            size = limit - len(page)
            found = await asyncio.gather(*(self._load(key) for key in left[:size]))
            page += (each.subscription for each in found if each.subscription)
            left = left[size:]
        return page

    async def create(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> bool:
        """Create a subscription. Returns False, without a change, if it exists."""
        first = StoredSubscription(issuer_id, name, sequence, commit_time_ms)
        return await self._change(issuer_id, name, lambda standing: None if standing else first) is not None

    async def commit(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int
    ) -> StoredSubscription:
        """Move a cursor forward, creating the subscription if needed. Returns the stored subscription."""
        first = StoredSubscription(issuer_id, name, sequence, commit_time_ms)

        def change(standing: StoredSubscription | None) -> StoredSubscription:
            return standing.committed_at(sequence, commit_time_ms, fencing_token) if standing else first

        return await self._change(issuer_id, name, change) or first

    async def begin_watch(self, issuer_id: str, name: str, fencing_token: int) -> StoredSubscription | None:
        """Record a watcher's fencing token. Returns the stored subscription, or None."""
        return await self._change(
            issuer_id, name, lambda standing: standing.watched_with(fencing_token) if standing else None
        )

    async def reset(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int
    ) -> StoredSubscription | None:
        """Move a cursor anywhere, creating the subscription if needed; None if its fencing token is another one."""
        first = StoredSubscription(issuer_id, name, sequence, commit_time_ms)
        return await self._change(
            issuer_id, name, lambda standing: (standing or first).reset_to(sequence, commit_time_ms, fencing_token)
        )

    async def delete(self, issuer_id: str, name: str) -> bool:
        """Delete a subscription. Returns whether there was one."""
        key = _key(issuer_id, name)
        self._known.pop(key, None)
        return await self._bucket.delete(key)

    async def _change(
        self, issuer_id: str, name: str, change: Callable[[StoredSubscription | None], StoredSubscription | None]
    ) -> StoredSubscription | None:
        """Store what a function makes of a subscription, and return it; if that is None, change nothing."""
        key, lineage = _key(issuer_id, name), self._lineage
        known, is_fresh = self._known.get(key), False
        for _ in range(_MAX_ATTEMPTS):
            if known is None:
                known, is_fresh = await self._load(key), True
            wanted = change(known.subscription)
            if wanted is not None and wanted != known.subscription:
                value = orjson.dumps(asdict(wanted) | {_LOG_ID: lineage.log_id})
                revision = await self._bucket.put(key, value, expected=known.revision)
                if revision is not None:
                    if self._lineage is lineage:
                        self._known[key] = _Known(wanted, revision)
                    return wanted
                await asyncio.sleep(_PAUSE_SECONDS)
            elif is_fresh:
                return wanted
            # An entry known from before may be outdated: it only serves where its revision is compared.
            known, is_fresh = None, False
        raise RequestTimeoutError("Conflicting changes of a cursor at NATS did not settle in time.")

    async def _load(self, key: str) -> _Known:
        entry = await self._bucket.get(key)
        if entry is None:
            self._known.pop(key, None)
            return _Known(None, 0)
        self._known[key] = known = _Known(self._parse(orjson.loads(entry.value)), entry.revision)
        return known

    def _parse(self, stored: dict[str, Any]) -> StoredSubscription:
        log_id = stored.pop(_LOG_ID, self._lineage.log_id)
        return StoredSubscription(**stored | {"committed": self._lineage.translate(log_id, stored["committed"])})


def _key(issuer_id: str, name: str) -> str:
    return f"{token(issuer_id)}.{token(name)}"
