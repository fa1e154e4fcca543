"""The repetition of calls to an upstream: only where it is safe, never past the deadline, never without end."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from adapters.http.errors import RefusedError
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["is_retryable", "pause_seconds", "retried"]

_T = TypeVar("_T")

_FIRST_PAUSE_SECONDS: Final = 0.1
_PAUSE_GROWTH: Final = 2.0
_PASSING: Final = frozenset(
    {
        error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER,
        error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
        error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE,
        error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE,
    }
)
"""The reasons of a failure, of a request that was sent, that may be gone at the next one."""


def is_retryable(error: GatewayError, *, idempotent: bool) -> bool:
    """Tell whether a call may be made again, and whether that can help.

    Where no connection was made any call may. What was sent goes out again only if that does no harm.
    """
    if error.outcome == error_pb2.OUTCOME_NOT_SENT:
        return error.reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
    return idempotent and error.reason in _PASSING


def pause_seconds(error: GatewayError, attempt: int, spread: Callable[[], float] = random.random) -> float:
    """Tell how long to wait before the next attempt: longer each time, never the same, never less than was asked for.

    Args:
        error: How the attempt failed; what its answer asked for (Retry-After) is in it.
        attempt: Its number, from 1.
        spread: Numbers from 0 to 1.
    """
    backoff = _FIRST_PAUSE_SECONDS * _PAUSE_GROWTH ** (attempt - 1) * (0.5 + spread())
    asked = error.asked_seconds if isinstance(error, RefusedError) else None
    return backoff + (asked or 0.0)


async def retried(
    attempt: Callable[[], Awaitable[_T]],
    *,
    max_attempts: int,
    deadline: float,
    idempotent: bool,
    note: Callable[[], None],
) -> _T:
    """Make a call, and make it again where `is_retryable` says so and time is left after the pause.

    Args:
        attempt: Makes the call once.
        max_attempts: How many to make at most.
        deadline: When the call has to be over, in seconds of the event loop's clock.
        idempotent: Whether a request that was sent may be sent again.
        note: Told before each repetition.

    Raises:
        GatewayError: Of the failures of all attempts, the one that leaves most open of what the upstream may have done:
            where an answer was lost, a refusal of the repetition does not undo what came before.
    """
    loop = asyncio.get_running_loop()
    number, telling = 1, None
    while True:
        try:
            return await attempt()
        except GatewayError as error:
            # The outcomes are numbered by how much they leave open.
            telling = error if telling is None or error.outcome >= telling.outcome else telling
            pause = pause_seconds(error, number)
            may_repeat = number < max_attempts and is_retryable(error, idempotent=idempotent)
        if not may_repeat or loop.time() + pause >= deadline:
            raise telling
        await asyncio.sleep(pause)
        note()
        number += 1
