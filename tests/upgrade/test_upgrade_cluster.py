"""A cluster is upgraded, and rolled back, one gateway after the other, under load and without losses."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.fault.cluster.load import under_load
from tests.fault.cluster.stage import Stage, staged
from tests.fault.cluster.test_cluster_faults import check

_GATEWAYS = (0, 1)
_MOST_CANCELLED = 2
"""Of some thirty calls per second, in the moment in which clients learn of a gateway's drain."""


@pytest.fixture
async def cluster(release: Sequence[Path], tmp_path: Path) -> AsyncIterator[Stage]:
    """Two gateways of a release of the past."""
    async with staged(tmp_path, release) as stage:
        yield stage


async def test_a_rolling_upgrade_and_rollback_lose_nothing(cluster: Stage, release: Sequence[Path], seed: str) -> None:
    async with under_load(cluster, seed) as load:
        for packages in ((), release):
            for number in _GATEWAYS:
                assert await cluster.gateways.stop(number) == 0
                cluster.gateways.gateways[number].packages = packages
                await cluster.start(number)
                await load.is_whole()

    check(load, most_cancelled=_MOST_CANCELLED * 2 * len(_GATEWAYS))
