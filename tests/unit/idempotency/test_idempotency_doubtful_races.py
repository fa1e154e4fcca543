"""Two gateways and a store that does things, or says that it did not, or does them late, as chance has it."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from gateway.errors import GatewayError
from gateway.idempotency.replies import IdempotencyStore
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.fakes import FakeKeyValueStore
from tests.unit.idempotency.doubtful_store import unavailable
from tests.unit.idempotency.idempotency_calls import CREATE, ID, failure, instance

SEEDS = 60
STEPS = 12
_T = TypeVar("_T")


class ErraticStore(FakeKeyValueStore):
    """Any change may fail: done, not done, or done later. It does so until it is mended."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._chance = chance
        self._is_erratic = True
        self._late: list[Callable[[], Awaitable[object]]] = []

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        return await self._change(lambda: super(ErraticStore, self).put_if_absent(key, value, ttl_seconds))

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        await self._change(lambda: super(ErraticStore, self).put(key, value, ttl_seconds))

    async def delete(self, key: str, value: bytes) -> None:
        await self._change(lambda: super(ErraticStore, self).delete(key, value))

    async def arrive(self, *, everything: bool = False) -> None:
        """Do something of what is late, or all of it."""
        while self._late:
            await self._late.pop(self._chance.randrange(len(self._late)))()
            if not everything:
                return

    def mend(self) -> None:
        """Do from now on what is asked for."""
        self._is_erratic = False

    async def _change(self, change: Callable[[], Awaitable[_T]]) -> _T:
        if not self._is_erratic:
            return await change()
        match self._chance.choice(["done", "done", "done", "in doubt", "late", "never"]):
            case "done":
                return await change()
            case "in doubt":
                await change()
            case "late":
                self._late.append(change)
        raise unavailable()


class ErraticUpstream:
    """Makes cards, or fails, and counts what took effect."""

    def __init__(self, chance: Random) -> None:
        self.effects = 0
        self._chance = chance

    async def __call__(self) -> card.CreateCardResponse:
        for _ in range(self._chance.randrange(5)):
            await asyncio.sleep(0)
        outcome = self._chance.choice(
            [
                None,
                error_pb2.ERROR_OUTCOME_UNKNOWN,
                *[error_pb2.ERROR_OUTCOME_REJECTED, error_pb2.ERROR_OUTCOME_NOT_SENT] * 4,
            ]
        )
        if outcome is None or outcome == error_pb2.ERROR_OUTCOME_UNKNOWN:
            self.effects += 1
        if outcome is not None:
            raise failure(outcome)
        return card.CreateCardResponse(card_id="card")


async def ended(replies: IdempotencyStore, upstream: ErraticUpstream) -> str:
    """Call, and tell how that ended."""
    try:
        await replies.reply(CREATE, ("caller", "ISSUER0001", ID), b"a", upstream)
    except GatewayError as error:
        return error.outcome_name if error.reason_name == "UPSTREAM_FAILED" else error.reason_name
    return "replied"


async def run(seed: int) -> None:
    chance = Random(seed)  # noqa: S311  no secret
    store = ErraticStore(chance)
    upstream = ErraticUpstream(chance)
    gateways = [instance(store) for _ in range(2)]
    for _ in range(STEPS):
        await asyncio.gather(*(ended(chance.choice(gateways), upstream) for _ in range(chance.randrange(4))))
        if chance.random() < 0.5:
            await store.arrive()
        if chance.random() < 0.2:
            await asyncio.sleep(0.3)
        assert upstream.effects <= 1, f"seed {seed}"

    before = upstream.effects
    store.mend()
    await store.arrive(everything=True)
    newcomer = instance(store)
    async with asyncio.timeout(20):
        while (end := await ended(newcomer, upstream)) in {"REQUEST_IN_FLIGHT", "REJECTED", "NOT_SENT"}:
            assert before == 0 or end == "REQUEST_IN_FLIGHT", f"seed {seed}"
            await asyncio.sleep(0.1)
            if before == 1:
                # A reply or an unknown outcome that was not kept: its marker stands until the lease is over.
                store.now += 1
    assert end in {"replied", "UNKNOWN"} or before == 1, f"seed {seed}: {end}, though nothing took effect"
    assert upstream.effects == 1, f"seed {seed}"
    for each in (*gateways, newcomer):
        await each.aclose()


async def test_nothing_is_made_twice_and_what_was_never_made_is_made_in_the_end() -> None:
    async with asyncio.TaskGroup() as runs:
        for seed in range(SEEDS):
            runs.create_task(run(seed))
