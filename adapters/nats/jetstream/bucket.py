"""A key-value bucket. Every access goes to the leader of its stream."""

import base64
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from math import ceil
from typing import Final, NamedTuple

from adapters.nats.connection.connection import Connection
from adapters.nats.jetstream.jetstream import EXPECTED_LAST, JetStreamError, api_request, is_conflict, parse_ack

__all__ = ["Bucket", "Entry"]

_OVERLAP: Final = 1000
"""Keys that each page of a list repeats."""


class Entry(NamedTuple):
    """The entry of a key."""

    value: bytes
    revision: int
    """Grows with every change in the bucket."""


class Bucket:
    """A bucket's entries. Keys consist of tokens (`adapters.nats.jetstream.streams.token`), joined by dots.

    Every method raises `NatsError` on failure; a change may still be made then.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        """Use an existing bucket."""
        self._connection = connection
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or None."""
        last = {"last_by_subj": f"{self._prefix}{key}"}
        try:
            message = (await api_request(self._connection, f"STREAM.MSG.GET.{self._stream}", last))["message"]
        except JetStreamError as error:
            if error.number in JetStreamError.NOT_FOUND:
                return None
            raise
        return Entry(base64.b64decode(message.get("data", "")), message["seq"])

    @asynccontextmanager
    async def watched(self, key: str, on_put: Callable[[], None]) -> AsyncIterator[None]:
        """Call a listener each time somebody puts a value under a key, during the context.

        It hears the message that the bucket stores: somewhat before the value is stored, and even if it is not to be.
        While the connection is lost, it hears nothing.
        """
        subscription = await self._connection.subscribe(f"{self._prefix}{key}", lambda _: on_put())
        try:
            yield
        finally:
            await self._connection.unsubscribe(subscription)

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
    ) -> int | None:
        """Store a value.

        Args:
            key: The key.
            value: The value.
            expected: The required present revision, 0 for no entry; None for any.
            ttl_seconds: Time to live, rounded up to seconds; None for ever.

        Returns:
            The new revision; None if the present one is not as expected, or another change is in flight.
        """
        headers = {} if expected is None else {EXPECTED_LAST: str(expected)}
        if ttl_seconds is not None:
            headers["Nats-TTL"] = f"{max(1, ceil(ttl_seconds))}s"
        try:
            return parse_ack(await self._connection.request(f"{self._prefix}{key}", value, headers=headers))
        except JetStreamError as error:
            if is_conflict(error):
                return None
            raise

    async def delete(self, key: str, *, revision: int | None = None) -> bool:
        """Delete an entry.

        Args:
            key: The key.
            revision: The revision to delete; None for any.

        Returns:
            Whether there was such an entry.
        """
        body: dict[str, object] = {"filter": f"{self._prefix}{key}"}
        if revision is not None:
            body["seq"] = revision + 1
        purged: int = (await api_request(self._connection, f"STREAM.PURGE.{self._stream}", body))["purged"]
        return purged > 0

    async def keys(self, pattern: str) -> Collection[str]:
        """List the keys that match a pattern, unordered. A ``*`` matches one token, a ``>`` at its end any number."""
        body: dict[str, object] = {"subjects_filter": f"{self._prefix}{pattern}", "offset": 0}
        found: dict[str, None] = {}
        end = 0
        while True:
            info = await api_request(self._connection, f"STREAM.INFO.{self._stream}", body)
            page = info["state"].get("subjects") or ()
            found.update((subject.removeprefix(self._prefix), None) for subject in page)
            end += len(page)
            if not page or end >= info.get("total", 0):
                return found
            # The server counts anew for each page, so keys that are removed meanwhile move the others forward.
            end -= min(_OVERLAP, len(page) - 1)
            body["offset"] = end
