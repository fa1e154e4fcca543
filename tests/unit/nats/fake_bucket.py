"""A bucket of NATS whose responses are lost or late."""

import asyncio
from collections.abc import Callable

from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.jetstream.bucket import Bucket, Entry

__all__ = ["FakeBucket"]


class FakeBucket(Bucket):
    """A bucket in a dictionary, whose responses can be lost and whose changes can be late."""

    def __init__(self) -> None:
        self.held: dict[str, Entry] = {}
        self.reads = 0
        self.loses_responses = False
        """Whether changes are made without a response."""
        self.holds_back = False
        """Whether changes wait, without a response, for `let_through`."""
        self.before_put: Callable[[str, bytes], None] = lambda _, __: None
        """Called before each change."""
        self._late: list[tuple[str, bytes, int | None]] = []
        self._revision = 0

    def let_through(self) -> None:
        """Make the pending changes."""
        self.holds_back = False
        late, self._late = self._late, []
        for key, value, expected in late:
            self.change(key, value, expected)

    async def get(self, key: str) -> Entry | None:
        await asyncio.sleep(0)
        self.reads += 1
        return self.held.get(key)

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
    ) -> int | None:
        del ttl_seconds
        self.before_put(key, value)
        await asyncio.sleep(0)
        if self.holds_back:
            self._late.append((key, value, expected))
            raise RequestTimeoutError
        changed = self.change(key, value, expected)
        await asyncio.sleep(0)
        if self.loses_responses:
            raise RequestTimeoutError
        return changed

    def change(self, key: str, value: bytes, expected: int | None) -> int | None:
        standing = self.held.get(key)
        if expected is not None and expected != (standing.revision if standing else 0):
            return None
        self._revision += 1
        self.held[key] = Entry(value, self._revision)
        return self._revision
