"""The cursors of named subscriptions: an entry each, changed only by who knows what stands there.

Each names the log that it is a place of, so that one of an earlier log is not taken for a place of the present one, by
whichever gateway and however late it was committed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.connection.subjects import token
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.lineage import Lineage
from gateway.ports import StoredSubscription

__all__ = ["Subscriptions"]

_ATTEMPTS = 50
_PAUSE_SECONDS = 0.02
_LOG_ID = "log_id"


@dataclass(frozen=True, slots=True)
class _Known:
    """What stood there when we looked last, or what we put there."""

    subscription: StoredSubscription | None
    revision: int


_NOTHING = _Known(None, 0)


class Subscriptions:
    """The cursors that all gateways share. Every method raises `NatsError` if it cannot be done."""

    def __init__(self, bucket: Bucket) -> None:
        """Use `NatsStorage.open`."""
        self._bucket = bucket
        self._lineage = Lineage("", {})
        self._known: dict[str, _Known] = {}

    def belong_to(self, lineage: Lineage) -> None:
        """Take cursors from now on for places in a log. Those of its earlier identities stand where it is the same."""
        self._lineage = lineage
        self._known.clear()

    async def get(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Get a subscription; None if there is none."""
        return (await self._look(_key(issuer_id, name))).subscription

    async def list(self, issuer_id: str | None) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name."""
        keys = await self._bucket.keys(f"{'*' if issuer_id is None else token(issuer_id)}.*")
        found = await asyncio.gather(*(self._look(key) for key in keys))
        listed = (each.subscription for each in found if each.subscription)
        return sorted(listed, key=lambda each: (each.issuer_id, each.name))

    async def commit(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> StoredSubscription:
        """Move a cursor forward, making the subscription if there is none. Returns what stands now."""
        key = _key(issuer_id, name)
        wanted, lineage = StoredSubscription(issuer_id, name, sequence, commit_time_ms), self._lineage
        value = orjson.dumps(asdict(wanted) | {_LOG_ID: lineage.log_id})
        known = self._known.get(key)
        for _ in range(_ATTEMPTS):
            # What is known from before may only be acted upon where the entry's revision is compared.
            if known is None or (known.subscription is not None and known.subscription.committed >= sequence):
                known = await self._look(key)
                if known.subscription is not None and known.subscription.committed >= sequence:
                    return known.subscription
            revision = await self._bucket.put(key, value, expected=known.revision)
            if revision is not None:
                if self._lineage is lineage:
                    self._known[key] = _Known(wanted, revision)
                return wanted
            known = None
            await asyncio.sleep(_PAUSE_SECONDS)
        raise RequestTimeoutError("NATS does not make up its mind about a cursor.")

    async def delete(self, issuer_id: str, name: str) -> bool:
        """Forget a subscription. Returns whether there was one."""
        key = _key(issuer_id, name)
        self._known.pop(key, None)
        return await self._bucket.delete(key)

    async def _look(self, key: str) -> _Known:
        found = await self._bucket.get(key)
        if found is None:
            self._known.pop(key, None)
            return _NOTHING
        self._known[key] = known = _Known(self._read(orjson.loads(found.value)), found.revision)
        return known

    def _read(self, stored: dict[str, Any]) -> StoredSubscription:
        log_id = stored.pop(_LOG_ID, self._lineage.log_id)
        return StoredSubscription(**stored | {"committed": self._lineage.place(log_id, stored["committed"])})


def _key(issuer_id: str, name: str) -> str:
    return f"{token(issuer_id)}.{token(name)}"
