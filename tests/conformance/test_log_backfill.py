"""The contract of `gateway.ports.EventLog`: what a backfill and notifications append at the same time.

The lives are those of `tests/unit/backfill/test_backfill_random.py`, without what a backfill waits for.
"""

import os

import pytest

from gateway.ports import Storage
from tests.unit.backfill.backfill_lives import Life

_FIRST = int(os.environ.get("D1_BACKFILL_SEED", "1"))
_COUNT = max(1, int(os.environ.get("D1_BACKFILL_LIVES", "200")) // 20)


@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + _COUNT))
async def test_the_log_ends_with_the_history_whatever_happens_to_a_backfill(storage: Storage, seed: int) -> None:
    await Life(seed, storage.log, storage.trim_through, has_pauses=False).play()
