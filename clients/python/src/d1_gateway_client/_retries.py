"""Which calls are made again, and when."""

import copy
import random
import uuid
from typing import TypeVar

import betterproto2
import grpc

from d1_gateway_client.errors import ErrorReason, GatewayError, Outcome

__all__ = ["IDEMPOTENT", "Backoff", "is_passing", "pause_seconds", "request_id", "with_request_id"]

IDEMPOTENT = frozenset(
    {
        "/issuer.card.v1.CardService/RegisterCard",
        "/issuer.consumer.v1.ConsumerService/CompleteAuthentication",
        "/issuer.consumer.v1.ConsumerService/RegisterConsumer",
        "/issuer.notification.v1.NotificationService/CommitCursor",
        "/issuer.notification.v1.NotificationService/GetSubscription",
        "/issuer.notification.v1.NotificationService/ListSubscriptions",
        "/issuer.notification.v1.NotificationService/WatchNotifications",
        "/issuer.threeds.v1.AuthenticationService/GetChallengeResult",
        "/issuer.threeds.v1.AuthenticationService/LookupCard",
        "/issuer.threeds.v1.OperationService/GetOperation",
        "/issuer.threeds.v1.OperationService/ListOperations",
    }
)
"""The rpcs of which the contract says that they are: made again, they change nothing."""

_LOST = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""How gRPC names a link that broke, besides UNAVAILABLE, when no gateway stands behind the status."""

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 5.0

_Request = TypeVar("_Request", bound=betterproto2.Message)


class Backoff:
    """Pauses that grow, and that differ between clients so that not all come back at once."""

    def __init__(self) -> None:
        self._count = 0

    def reset(self) -> None:
        """Begin again with a short pause."""
        self._count = 0

    def seconds(self, at_least: float | None = None) -> float:
        """Say how long the next pause is.

        Args:
            at_least: What the gateway asked for.
        """
        # The limit keeps the power from overflowing in a client that waits for days.
        pause = min(_FIRST_SECONDS * 2.0 ** min(self._count, 10), _MOST_SECONDS)
        self._count += 1
        return max(pause * random.uniform(0.5, 1.0), at_least or 0.0)  # noqa: S311 (nobody gains by guessing it)


def pause_seconds(error: GatewayError, route: str, backoff: Backoff) -> float | None:
    """Say after how long a failed call may be made again; None if it may not.

    Args:
        error: How it failed.
        route: What was called, for example ``/issuer.card.v1.CardService/CreateCard``.
        backoff: That of the call.
    """
    is_unchanged = error.outcome is Outcome.NOT_SENT or route in IDEMPOTENT
    # grpc ends so what arrives in the very moment in which a gateway begins to shut down (grpc/grpc#41785).
    is_shut_out = error.code is grpc.StatusCode.CANCELLED and not error.reason_name and route in IDEMPOTENT
    if is_shut_out or (error.code is grpc.StatusCode.UNAVAILABLE and is_unchanged):
        return backoff.seconds(error.retry_after_seconds)
    if error.reason is ErrorReason.REQUEST_IN_FLIGHT:
        return backoff.seconds(error.retry_after_seconds)
    return None


def is_passing(error: GatewayError) -> bool:
    """Tell whether a stream that ended so can be opened again."""
    return error.code is grpc.StatusCode.UNAVAILABLE or (error.code in _LOST and not error.reason_name)


def with_request_id(request: _Request) -> _Request:
    """Copy a request that changes something and has no ``request_id`` yet, with a new one; others stay as they are."""
    if getattr(request, "request_id", None) != "":
        return request
    named = copy.copy(request)
    named.request_id = str(uuid.uuid4())  # type: ignore[attr-defined] # looked for above
    return named


def request_id(request: betterproto2.Message) -> str | None:
    """Get the ``request_id`` of a request; None if it has none."""
    return getattr(request, "request_id", None)
