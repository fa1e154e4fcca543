"""What D1 notifies in a demonstration."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from sandbox.demo.steps import expect
from sandbox.sandbox import Sandbox

__all__ = ["CARD", "Told"]

CARD = "card_demo_1"
"""The card whose life is walked through, and that is notified of."""


class Told:
    """Has D1 notify, and keeps which operations it got a 204 for."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.operation_ids: list[str] = []
        """Those of the operations that the edge took, in order."""
        self._sandbox = sandbox

    async def send(self, again: Notification | None = None, **fields: Any) -> Notification:
        """Have D1 notify.

        Args:
            again: What it has notified before; None for something new.
            fields: What is particular about something new.

        Raises:
            UnexpectedError: The edge did not take it.
        """
        sent = again or self.new(**fields)
        status = await self.try_to_send(sent)
        expect(status == HTTPStatus.NO_CONTENT, f"the gateway answered D1 with {status}")
        return sent

    async def try_to_send(self, notification: Notification) -> int:
        """Have D1 notify once; returns the status."""
        status = await self._sandbox.notifier.send(notification)
        if status == HTTPStatus.NO_CONTENT:
            self.operation_ids.append(notification.operation_id)
        return status

    def new(self, **fields: Any) -> Notification:
        """Make something to notify of; the arguments are what is particular about it."""
        details = new_details() | fields.pop("details", {})
        return Notification(CARD, new_operation_id(), datetime.now(UTC), details=details, **fields)
