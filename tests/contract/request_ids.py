"""Calls under request ids, held at D1 for as long as a test needs."""

import asyncio
from typing import Any
from uuid import uuid4

from sandbox import Sandbox
from tests.contract.card_rpcs import Rpc, changed

__all__ = ["identified", "until_held"]


def identified(rpc: Rpc, **fields: Any) -> Any:
    """Return the rpc's request under an id of its own, with some fields replaced."""
    return changed(rpc.request, request_id=str(uuid4()), **fields)


async def until_held(sandbox: Sandbox, count: int = 1) -> None:
    """Wait until D1 holds so many calls, which have then used a fault each."""
    left = len(sandbox.faults._pending) - count
    async with asyncio.timeout(10):
        while len(sandbox.faults._pending) > left:  # noqa: ASYNC110  the simulator sends no event
            await asyncio.sleep(0.01)
