"""From grpc's context to what an outbound call has to know."""

import asyncio

from gateway import correlation
from gateway.ports import Call
from gateway.rpc.interceptors.around import Context

__all__ = ["outbound"]


def outbound(issuer_id: str, context: Context) -> Call:
    """Describe the calls that an rpc makes: for whom, under which correlation id, until when."""
    # None without a deadline, whatever grpc's stubs say.
    remaining: float | None = context.time_remaining()
    deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
    return Call(issuer_id, correlation.current(), deadline)
