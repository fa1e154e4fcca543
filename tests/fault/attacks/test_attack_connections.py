"""Strangers without a certificate take all the connections they can get, and D1 is served all the same."""

import asyncio

import pytest

from tests.fault.attacks.attacked import Attacked
from tests.fault.attacks.crowd import Behaviour, crowd

_STRANGERS = 2_000
_PROMISED_SECONDS = 0.25
_MEASUREMENTS = 3
_AT_ONCE = 10
# Something else may take the processors: without strangers, a notification takes a twentieth of what is promised.
_TIMES_AS_LONG = 20


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("behaviour", "addresses"), [("silent", 1), ("silent", 200), ("dripping", 1), ("stalling", 200)]
)
async def test_d1_gets_new_connections_and_soon_its_responses_beside_two_thousand_strangers(
    attacked: Attacked, behaviour: Behaviour, addresses: int
) -> None:
    undisturbed = await attacked.new_connections(20)
    most_seconds = max(_PROMISED_SECONDS, _TIMES_AS_LONG * undisturbed.quantile_seconds(0.9))
    async with (
        attacked.posting() as kept,
        crowd(attacked.edge_port, behaviour, connections=_STRANGERS, addresses=addresses),
    ):
        for _ in range(_MEASUREMENTS):
            kept.seconds.clear()
            new = await attacked.new_connections(100)
            took_seconds = max(new.quantile_seconds(0.9), kept.quantile_seconds(0.9))
            if len(new.seconds) >= 99 and took_seconds < most_seconds:
                break
        burst = await asyncio.gather(*(attacked.new_connections(1) for _ in range(_AT_ONCE)))
    assert len(new.seconds) >= 99
    assert sum(len(each.seconds) for each in burst) == _AT_ONCE
    assert took_seconds < most_seconds
    assert (await attacked.refused())["displaced"] > 0
