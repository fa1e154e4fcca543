"""Authenticators that consumers enrolled in the issuer's app (D1 API: out-of-band authentication)."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from sandbox.common.state import State
from sandbox.d1.callbacks.background import Background
from sandbox.d1.callbacks.notifier import Notifier
from sandbox.d1.model.contract import FIELD_APP_INSTANCE_ID, ConsumerOperation, RequestorType
from sandbox.d1.model.errors import forbidden, not_found
from sandbox.d1.model.notification import ConsumerNotification, new_operation_id
from sandbox.d1.model.store import CardStore

__all__ = ["Authenticators"]


class Authenticators:
    """The authenticators of one issuer's consumers. D1 notifies the edge of every enrolment and removal."""

    def __init__(
        self, cards: CardStore, notifier: Notifier, background: Background, clock: Callable[[], float], state: State
    ) -> None:
        """Start with the authenticators that were kept.

        Args:
            cards: The store with the consumers.
            notifier: Sends the notifications.
            background: Runs the notifier.
            clock: Returns the time, in seconds since 1970 (UTC).
            state: Keeps the authenticators.
        """
        self._cards = cards
        self._notifier = notifier
        self._background = background
        self._clock = clock
        self._enrolled = state.table("authenticators", str)

    def all(self) -> dict[str, str]:
        """Return the consumer id of each app instance with an authenticator."""
        return dict(self._enrolled)

    def has_any(self, consumer_id: str) -> bool:
        """Return whether a consumer has enrolled one."""
        return consumer_id in self._enrolled.values()

    def enrol(self, consumer_id: str, app_instance_id: str | None = None) -> str:
        """Enrol an authenticator; return the app instance's id, generated if omitted.

        Raises:
            D1Error: The consumer is unknown, or the app instance already has an authenticator.
        """
        self._cards.personal_information(consumer_id)
        app_instance_id = app_instance_id or f"app_{secrets.token_hex(16)}"
        if app_instance_id in self._enrolled:
            raise forbidden("Application instance has an authenticator")
        self._enrolled[app_instance_id] = consumer_id
        self._tell(ConsumerOperation.ENROLL_AUTHN, consumer_id, app_instance_id, RequestorType.USER)
        return app_instance_id

    def delete(self, app_instance_id: str, requestor: RequestorType = RequestorType.USER) -> None:
        """Remove an authenticator, in the app or at the issuer's request.

        Raises:
            D1Error: The app instance has no authenticator.
        """
        try:
            consumer_id = self._enrolled.pop(app_instance_id)
        except KeyError:
            raise not_found("Application instance") from None
        self._tell(ConsumerOperation.DELETE_AUTHN, consumer_id, app_instance_id, requestor)

    def forget(self, consumer_id: str) -> None:
        """Remove all authenticators of a deleted consumer, without notifications."""
        for app in [app for app, of in self._enrolled.items() if of == consumer_id]:
            del self._enrolled[app]

    def _tell(
        self, operation: ConsumerOperation, consumer_id: str, app_instance_id: str, requestor: RequestorType
    ) -> None:
        notification = ConsumerNotification(
            consumer_id,
            new_operation_id(),
            datetime.fromtimestamp(self._clock(), UTC),
            operation.value,
            requestor_type=requestor.value,
            requestor_id=consumer_id if requestor is RequestorType.USER else None,
            details={FIELD_APP_INSTANCE_ID: app_instance_id},
        )
        self._background.start(self._deliver(notification), f"{operation} of {app_instance_id}")

    async def _deliver(self, notification: ConsumerNotification) -> None:
        await self._notifier.deliver(notification)
