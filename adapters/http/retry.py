"""Retries of calls to an upstream: only where safe, never past the deadline, limited in number."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from adapters.http.errors import RejectedError
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["is_retryable", "pause_seconds", "retried"]

_T = TypeVar("_T")

_FIRST_PAUSE_SECONDS: Final = 0.1
_PAUSE_GROWTH: Final = 2.0
_TRANSIENT: Final = frozenset(
    {
        error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE,
        error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
        error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE,
        error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE,
    }
)
"""Reasons for which a request that was sent may succeed the next time."""


def is_retryable(error: GatewayError, *, idempotent: bool) -> bool:
    """Return whether a call may be retried, and whether that can help.

    Without a connection any call may be retried. What was sent may be sent again only if the call is idempotent: also
    after a foreign response, which says nothing about the request.
    """
    if error.outcome == error_pb2.ERROR_OUTCOME_NOT_SENT:
        return error.reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
    is_foreign = isinstance(error, RejectedError) and error.is_foreign
    return idempotent and (is_foreign or error.reason in _TRANSIENT)


def pause_seconds(error: GatewayError, attempt: int, spread: Callable[[], float] = random.random) -> float:
    """Return the pause before the next attempt: growing, jittered, and no shorter than the upstream asks for.

    Args:
        error: The failure, which holds the pause that the response asks for (Retry-After).
        attempt: Number of the failed attempt, from 1.
        spread: Random numbers from 0 to 1.
    """
    backoff = _FIRST_PAUSE_SECONDS * _PAUSE_GROWTH ** (attempt - 1) * (0.5 + spread())
    requested = error.requested_pause_seconds if isinstance(error, RejectedError) else None
    return backoff + (requested or 0.0)


async def retried(
    attempt: Callable[[], Awaitable[_T]],
    *,
    max_attempts: int,
    deadline: float,
    idempotent: bool,
    on_retry: Callable[[], None],
) -> _T:
    """Make a call; retry it if `is_retryable` and if time is left after the pause.

    Args:
        attempt: Makes the call once.
        max_attempts: Limit for the number of attempts.
        deadline: The call's deadline, in seconds of the event loop's clock.
        idempotent: Whether a request that was sent may be sent again.
        on_retry: Called before each retry.

    Raises:
        GatewayError: Of all attempts' failures, the one with the least certain outcome: if a response was lost, a
            rejection of the retry does not undo what came before.
    """
    loop = asyncio.get_running_loop()
    number, least_certain = 1, None
    while True:
        try:
            return await attempt()
        except GatewayError as error:
            # Outcomes are numbered by uncertainty.
            least_certain = error if least_certain is None or error.outcome >= least_certain.outcome else least_certain
            pause = pause_seconds(error, number)
            may_retry = number < max_attempts and is_retryable(error, idempotent=idempotent)
        if not may_retry or loop.time() + pause >= deadline:
            raise least_certain
        await asyncio.sleep(pause)
        on_retry()
        number += 1
