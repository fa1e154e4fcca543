"""A key-value bucket: the last value of each key, read from and changed at the leader of its stream."""

import base64
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from adapters.nats.connection.connection import Connection
from adapters.nats.jetstream.jetstream import EXPECTED_LAST, JetStreamError, ask, is_other_one_there, parse_ack

__all__ = ["Bucket", "Entry"]


class Entry(NamedTuple):
    """What stands under a key."""

    value: bytes
    revision: int
    """Grows with every change in the bucket."""


class Bucket:
    """The values of a bucket. Keys are tokens of `adapters.nats.connection.subjects`, joined by dots.

    Every method raises `NatsError` if it cannot be done; what changes something may be done all the same then.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        """Use a bucket that is there already: `adapters.nats.jetstream.streams` makes it."""
        self._connection = connection
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        """Get what stands under a key, or None."""
        try:
            found = await ask(
                self._connection, f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": f"{self._prefix}{key}"}
            )
        except JetStreamError as error:
            if error.number in JetStreamError.NOT_FOUND:
                return None
            raise
        message = found["message"]
        return Entry(base64.b64decode(message.get("data", "")), message["seq"])

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
    ) -> int | None:
        """Store a value.

        Args:
            key: Where.
            value: What.
            expected: The revision that has to stand there, 0 for nothing; None for whatever it is.
            ttl_seconds: After how long it is to be gone, a second more or less; None for never.

        Returns:
            Its revision; None if another one stood there than expected, or is just being stored.
        """
        headers = {} if expected is None else {EXPECTED_LAST: str(expected)}
        if ttl_seconds is not None:
            headers["Nats-TTL"] = f"{max(1, ceil(ttl_seconds))}s"
        try:
            return parse_ack(await self._connection.request(f"{self._prefix}{key}", value, headers=headers))
        except JetStreamError as error:
            if is_other_one_there(error):
                return None
            raise

    async def delete(self, key: str, *, revision: int | None = None) -> bool:
        """Forget what stands under a key.

        Args:
            key: Where.
            revision: Leave it if another one stands there by then; None for whatever it is.

        Returns:
            Whether something was forgotten.
        """
        body: dict[str, object] = {"filter": f"{self._prefix}{key}"}
        if revision is not None:
            body["seq"] = revision + 1
        purged: int = (await ask(self._connection, f"STREAM.PURGE.{self._stream}", body))["purged"]
        return purged > 0

    async def keys(self, pattern: str) -> Sequence[str]:
        """List the keys that match a pattern, in which ``*`` is any one token, in no order."""
        body: dict[str, object] = {"subjects_filter": f"{self._prefix}{pattern}", "offset": 0}
        found: list[str] = []
        while True:
            info = await ask(self._connection, f"STREAM.INFO.{self._stream}", body)
            found += (subject.removeprefix(self._prefix) for subject in info["state"].get("subjects") or ())
            if len(found) >= info.get("total", 0):
                return found
            body["offset"] = len(found)
