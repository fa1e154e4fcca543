"""From grpc's context to what an outbound call has to know."""

import asyncio

from gateway.grpc_api.interceptors.chain import Context
from gateway.logging import correlation
from gateway.ports import Call

__all__ = ["outbound"]

_LONGEST_RESERVE_SECONDS = 0.1
_RESERVE_FRACTION = 0.1


def outbound(issuer_id: str, context: Context) -> Call:
    """Describe the calls that an rpc makes: for whom, under which correlation id, until when."""
    # None without a deadline, whatever grpc's stubs say.
    remaining: float | None = context.time_remaining()
    deadline = None if remaining is None else asyncio.get_running_loop().time() + _usable(remaining)
    return Call(issuer_id, correlation.current(), deadline)


def _usable(remaining: float) -> float:
    # Some time is kept back for the way to the caller: at the deadline itself its own gRPC library ends the call, and
    # with it goes the outcome that the caller has to know before it repeats a change.
    return remaining - min(_LONGEST_RESERVE_SECONDS, _RESERVE_FRACTION * remaining)
