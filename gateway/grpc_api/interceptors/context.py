"""Turns grpc's context into the description of an upstream call."""

import asyncio

from gateway.auth import grant
from gateway.grpc_api.interceptors.chain import Context
from gateway.logging import correlation
from gateway.ports import Call

__all__ = ["caller_identity", "outbound"]

_MAX_RESERVE_SECONDS = 0.1
_RESERVE_FRACTION = 0.1


def caller_identity() -> str:
    """Return the identity of the rpc's caller; empty outside of an rpc."""
    current = grant.current()
    return "" if current is None else current.caller.identity


def outbound(issuer_id: str, context: Context) -> Call:
    """Return the issuer, correlation id and deadline for the upstream calls of an rpc."""
    # None without a deadline, although grpc's stubs say otherwise.
    remaining: float | None = context.time_remaining()
    deadline = None if remaining is None else asyncio.get_running_loop().time() + _usable(remaining)
    return Call(issuer_id, correlation.current(), deadline)


def _usable(remaining: float) -> float:
    # Reserve time for the way back. At the deadline the caller's gRPC library ends the call and drops the outcome,
    # which the caller needs before it retries a change.
    return remaining - min(_MAX_RESERVE_SECONDS, _RESERVE_FRACTION * remaining)
