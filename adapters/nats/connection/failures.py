"""How a failure of NATS is told to the gateway."""

from collections.abc import Iterator
from contextlib import contextmanager

from adapters.nats.connection.errors import NatsError
from gateway.errors import GatewayError, Reason
from issuer.common.v1 import error_pb2

__all__ = ["EVENT_LOG", "STORE", "Teller"]

_RETRY_AFTER_SECONDS = 1.0


class Teller:
    """Tells the failures of one user of NATS with its own reason."""

    def __init__(self, user: str, reason: Reason) -> None:
        """Speak for a user.

        Args:
            user: Its name, for messages.
            reason: The reason of its failures.
        """
        self._user = user
        self._reason = reason

    def error(self, cause: NatsError) -> GatewayError:
        """Return what the gateway is told."""
        return GatewayError(
            self._reason,
            f"The {self._user} is not available. {cause}",
            outcome=error_pb2.OUTCOME_REJECTED,
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Raise what is raised inside as the gateway is to be told it."""
        try:
            yield
        except NatsError as error:
            raise self.error(error) from error


EVENT_LOG = Teller("event log", error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE)
STORE = Teller("key-value store", error_pb2.ERROR_REASON_STORE_UNAVAILABLE)
