"""The rules for retries, and their pauses."""

import copy
import random
import uuid
from typing import TypeVar

import betterproto2
import grpc

from d1_gateway_client.contracts.idempotency import IDEMPOTENT
from d1_gateway_client.errors import ErrorOutcome, ErrorReason, GatewayError

__all__ = ["Backoff", "is_transient", "pause_seconds", "request_id", "with_request_id"]

_BROKEN = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""gRPC's statuses of a broken connection besides UNAVAILABLE, if the gateway did not set the status. INTERNAL is also
that of a refused stream to which grpc.aio wrote while the refusal arrived: the next stream shows the refusal."""

_FIRST_SECONDS = 0.1
_MAX_SECONDS = 5.0

_Request = TypeVar("_Request", bound=betterproto2.Message)


class Backoff:
    """Pauses that grow, with jitter so that not all clients return at once."""

    def __init__(self) -> None:
        self._count = 0

    def reset(self) -> None:
        """Start again with a short pause."""
        self._count = 0

    def seconds(self, at_least: float | None = None) -> float:
        """Return the length of the next pause.

        Args:
            at_least: The pause that the gateway asked for, in seconds.
        """
        # Without the limit the power overflows in a client that waits for days.
        pause = min(_FIRST_SECONDS * 2.0 ** min(self._count, 10), _MAX_SECONDS)
        self._count += 1
        return max(pause * random.uniform(0.5, 1.0), at_least or 0.0)  # noqa: S311 (jitter, not a secret)


def pause_seconds(error: GatewayError, route: str, backoff: Backoff) -> float | None:
    """Return the seconds until a failed call may be retried; None if it must not be retried.

    Args:
        error: The failure.
        route: The rpc, for example ``/issuer.card.v1.CardService/CreateCard``.
        backoff: The pauses of this call.
    """
    is_safe = error.outcome is ErrorOutcome.NOT_SENT or route in IDEMPOTENT
    # grpc's status for a call that arrives at the very moment of a shutdown (grpc/grpc#41785).
    is_shut_out = error.code is grpc.StatusCode.CANCELLED and not error.reason and route in IDEMPOTENT
    if is_shut_out or (error.code is grpc.StatusCode.UNAVAILABLE and is_safe):
        return backoff.seconds(error.retry_after_seconds)
    if error.reason is ErrorReason.REQUEST_IN_FLIGHT:
        return backoff.seconds(error.retry_after_seconds)
    return None


def is_transient(error: GatewayError) -> bool:
    """Tell whether a stream that ended with this error can be opened again."""
    return error.code is grpc.StatusCode.UNAVAILABLE or (error.code in _BROKEN and not error.reason)


def with_request_id(request: _Request) -> _Request:
    """Return a mutation without a ``request_id`` as a copy with a new one; return other requests unchanged."""
    if getattr(request, "request_id", None) != "":
        return request
    named = copy.copy(request)
    named.request_id = str(uuid.uuid4())  # type: ignore[attr-defined] # checked above
    return named


def request_id(request: betterproto2.Message) -> str | None:
    """Return the ``request_id`` of a request; None if it has none."""
    return getattr(request, "request_id", None)
