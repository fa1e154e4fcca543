import asyncio
from itertools import pairwise

import pytest

from gateway.idempotency.cleanup import StaleMarkerCleaner
from tests.fakes import FakeKeyValueStore
from tests.unit.http.virtual_time import in_virtual_time


class _WatchedStore(FakeKeyValueStore):
    def __init__(self) -> None:
        super().__init__()
        self.deletion_times: list[float] = []

    async def delete(self, key: str, value: bytes) -> None:
        self.deletion_times.append(asyncio.get_running_loop().time())
        await super().delete(key, value)


def test_a_stale_marker_is_removed_again_and_again_at_pauses_that_double_for_17_minutes() -> None:
    store = _WatchedStore()

    async def clean() -> None:
        cleaner = StaleMarkerCleaner(store)
        cleaner.add("entry", b"marker")
        await asyncio.sleep(1100.0)
        assert b"marker" not in cleaner

    in_virtual_time(clean())

    pauses = [later - earlier for earlier, later in pairwise(store.deletion_times)]
    assert pauses == pytest.approx([0.25 * 2**number for number in range(12)])
