"""Errors of NATS, and their translation to the gateway's."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import GatewayError, Reason
from issuer.common.v1 import error_pb2

__all__ = [
    "EVENT_LOG",
    "STORE",
    "DisconnectedError",
    "NatsError",
    "NatsOpenError",
    "NoResponderError",
    "NotConnectedError",
    "RequestTimeoutError",
]

_RETRY_AFTER_SECONDS = 1.0


class NatsError(Exception):
    """An operation failed, or its outcome is unknown. The message gives the cause."""


class DisconnectedError(NatsError):
    """There is no connection, or it was lost before the response."""


class NotConnectedError(DisconnectedError):
    """There is no connection. Nothing was sent."""


class RequestTimeoutError(NatsError):
    """No response arrived in time. The operation may still be done."""


class NoResponderError(NatsError):
    """The subject has no subscriber. Nothing was done."""


class NatsOpenError(Exception):
    """NATS cannot be used as it is. The message says what to do."""


class _Translator:
    """Translates the errors of one component that uses NATS."""

    def __init__(self, component: str, reason: Reason) -> None:
        self._component = component
        self._reason = reason

    def error(self, cause: NatsError, *, is_change: bool = False) -> GatewayError:
        """Return the gateway's error for a cause; `is_change` says whether the operation changes anything."""
        may_be_done = is_change and not isinstance(cause, NoResponderError | NotConnectedError)
        return GatewayError(
            self._reason,
            f"The {self._component} is not available. {cause}",
            outcome=error_pb2.ERROR_OUTCOME_UNKNOWN if may_be_done else error_pb2.ERROR_OUTCOME_REJECTED,
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )

    @contextmanager
    def translated(self, *, is_change: bool = False) -> Iterator[None]:
        """Raise the gateway's error for a `NatsError` inside the context."""
        try:
            yield
        except NatsError as error:
            raise self.error(error, is_change=is_change) from error


EVENT_LOG = _Translator("event log", error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE)
STORE = _Translator("key-value store", error_pb2.ERROR_REASON_STORE_UNAVAILABLE)
