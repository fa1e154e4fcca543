"""A store that fails and yet does what it was asked for, at once or later, as one that is shared may."""

import asyncio

from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from tests.fakes import FakeKeyValueStore

__all__ = ["DoubtfulStore", "unavailable"]


def unavailable() -> GatewayError:
    """Make an error of a store that does not answer."""
    return GatewayError(
        error_pb2.ERROR_REASON_STORE_UNAVAILABLE, "No answer.", outcome=error_pb2.ERROR_OUTCOME_REJECTED
    )


class DoubtfulStore(FakeKeyValueStore):
    """Says that it cannot store markers, but does: while it is in doubt at once, while it is late when told to.

    It deletes nothing while it may not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_in_doubt = False
        self.is_late = False
        self.deletion_times: list[float] = []
        """When each was tried."""
        self.may_delete = asyncio.Event()
        self.may_delete.set()
        self._late: list[tuple[str, bytes, float]] = []

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        if self.is_late:
            self._late.append((key, value, ttl_seconds))
            raise unavailable()
        standing = await super().put_if_absent(key, value, ttl_seconds)
        if self.is_in_doubt:
            raise unavailable()
        return standing

    async def delete(self, key: str, value: bytes) -> None:
        await self.may_delete.wait()
        try:
            await super().delete(key, value)
        finally:
            self.deletion_times.append(asyncio.get_running_loop().time())

    async def arrive(self) -> None:
        """Store what is late, and be late no longer."""
        self.is_late = False
        for key, value, ttl_seconds in self._late:
            await super().put_if_absent(key, value, ttl_seconds)

    async def tried(self, deletions: int) -> None:
        """Wait until so many more deletions were tried."""
        aim = len(self.deletion_times) + deletions
        async with asyncio.timeout(10):
            while len(self.deletion_times) < aim:  # noqa: ASYNC110  who calls has no reason to tell of it
                await asyncio.sleep(0.01)
