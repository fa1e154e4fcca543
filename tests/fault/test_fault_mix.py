"""Many calls of every kind while everything goes wrong: no change is sent twice, and every outcome told is true."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from sandbox.common.faults import Drop, Fault
from tests.fault.calls import Made, authenticate, create, list_operations, lookup, register, suspend
from tests.fault.faulty import Faulty, faulty_gateway, recovery_seconds
from tests.running import Failure, failure_of

_CALLS = 240
_FAULTS = 240
_OUTAGES = 3
_NEVER = 1_000_000
_RECOVERY_SECONDS = 5.0
_RPCS: tuple[Made, ...] = (suspend, create, register, list_operations, lookup, authenticate)
_REPEATED = {"register", "list_operations", "lookup"}
_CALLED = ("suspendCard", "createCard", "registerCard", "list3dsOperations", "preauth", "auth")


@dataclass(frozen=True, slots=True)
class _End:
    """How a call ended."""

    rpc: str
    correlation_id: str
    failure: Failure | None


def _fault(chance: random.Random) -> Fault:
    operation = "getToken" if chance.random() < 0.03 else chance.choice(_CALLED)
    fault = Fault(operation, latency_ms=chance.choice([0, 0, 20, 200]))
    after = chance.choice([{}, {"Retry-After": "0"}, {"Retry-After": "1"}])
    wrong: list[dict[str, Any]] = [
        {"drop": Drop.BEFORE},
        {"drop": Drop.AFTER},
        {"truncate": True},
        {"html": True},
        {"latency_ms": 1_500},
        {"status": chance.choice([429, 500, 503, 504]), "headers": after},
    ]
    return replace(fault, **chance.choice([*wrong, {}, {}, {}]))


async def _made(faulty: Faulty, chance: random.Random) -> _End:
    rpc, correlation_id = chance.choice(_RPCS), str(UUID(int=chance.getrandbits(128), version=4))
    deadline, start = chance.choice([1.0, 3.0, 10.0]), chance.uniform(0, 4)
    await asyncio.sleep(start)
    try:
        failure = await failure_of(rpc(faulty.running, correlation_id, seconds=deadline))
    except AssertionError as error:
        # It succeeded; or gRPC itself gave up at the deadline, and nothing is told.
        if "succeeded" not in str(error):
            return _End("late", correlation_id, None)
        failure = None
    return _End(rpc.__name__, correlation_id, failure)


async def _all_made(faulty: Faulty, chance: random.Random) -> list[_End]:
    seeds = [chance.random() for _ in range(_CALLS)]
    return await asyncio.gather(*(_made(faulty, random.Random(seed)) for seed in seeds))  # noqa: S311 - to be repeated


async def _outages(faulty: Faulty, chance: random.Random) -> None:
    for _ in range(_OUTAGES):
        await asyncio.sleep(chance.uniform(0.2, 1.0))
        wire = chance.choice([faulty.d1, faulty.threeds])
        await wire.cut()
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        await wire.mend()


def _arrivals(faulty: Faulty) -> Counter[str]:
    """How often each call arrived: at D1 by its correlation id, at the 3-D Secure server by its transaction."""
    arrived = Counter(
        request.correlation_id for request in faulty.d1.requests if not request.path.endswith("/oauth2/token")
    )
    for request in faulty.threeds.requests:
        if request.path == "/auth":
            arrived[orjson.loads(request.body)["threeDSServerTransID"]] += 1
    return arrived


def _expect_truth(end: _End, count: int) -> None:
    """Compare what the caller was told with how often its call arrived."""
    if end.rpc == "late":
        return
    if end.rpc not in _REPEATED:
        assert count <= 1, end
    if end.failure is not None and end.failure.outcome == "NOT_SENT":
        assert count == 0, end
    elif end.rpc != "lookup" and (end.failure is None or end.failure.outcome == "REJECTED"):
        # The 3-D Secure server is not told whose lookup it is. And what is told to be UNKNOWN may have been cut
        # off on its way.
        assert count >= 1, end


@pytest.mark.parametrize(("seed", "circuit_failures"), [(1, 10), (3, _NEVER)])
async def test_no_change_is_sent_twice_and_every_outcome_is_true(
    tmp_path: Path, seed: int, circuit_failures: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    async with faulty_gateway(tmp_path, circuit_failures=circuit_failures) as faulty:
        for _ in range(_FAULTS):
            faulty.sandbox.faults.add(_fault(chance))

        ends, _ = await asyncio.gather(_all_made(faulty, chance), _outages(faulty, chance))

        arrived = _arrivals(faulty)
        for end in ends:
            _expect_truth(end, arrived[end.correlation_id])
        # On a busy machine a circuit may be open nearly all the time.
        assert circuit_failures < _NEVER or any(count > 1 for count in arrived.values()), "nothing was repeated"
        # Which of the two comes up depends on what the machine does besides.
        assert {"NOT_SENT", "UNKNOWN"} & {end.failure.outcome for end in ends if end.failure is not None}
        assert any(end.failure is None for end in ends if end.rpc != "late")

        faulty.sandbox.faults.clear()
        assert await recovery_seconds(lambda: list_operations(faulty.running)) < _RECOVERY_SECONDS
        assert await recovery_seconds(lambda: lookup(faulty.running)) < _RECOVERY_SECONDS
