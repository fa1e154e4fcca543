"""D1's notifications in a demonstration."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from sandbox.demo.steps import expect
from sandbox.sandbox import Sandbox

__all__ = ["CARD", "NotificationSender"]

CARD = "card_demo_1"
"""The card of the demonstration."""


class NotificationSender:
    """Sends D1's notifications and records those that got a 204."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.operation_ids: list[str] = []
        """The operations that the edge accepted, in order."""
        self._sandbox = sandbox

    async def send(self, again: Notification | None = None, **fields: Any) -> Notification:
        """Send a notification, which must get a 204.

        Args:
            again: An earlier notification; None for a new one.
            fields: Fields of the new notification.

        Raises:
            UnexpectedError: The edge did not accept it.
        """
        sent = again or self.new(**fields)
        status = await self.try_to_send(sent)
        expect(status == HTTPStatus.NO_CONTENT, f"the gateway responded {status} to D1")
        return sent

    async def try_to_send(self, notification: Notification) -> int:
        """Send a notification once; return the status."""
        status = await self._sandbox.notifier.send(notification)
        if status == HTTPStatus.NO_CONTENT:
            self.operation_ids.append(notification.operation_id)
        return status

    def new(self, **fields: Any) -> Notification:
        """Return a new notification with these fields."""
        details = new_details() | fields.pop("details", {})
        return Notification(CARD, new_operation_id(), datetime.now(UTC), details=details, **fields)
