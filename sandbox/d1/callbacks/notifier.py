"""D1 tells the gateway's edge what happened, and again until it is taken."""

import asyncio
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from sandbox.d1.callbacks.edge import EdgeClient, EdgeCredentials, NotDeliveredError
from sandbox.d1.model.contract import BACKOFF_SECONDS, NOTIFICATION_ATTEMPTS, OutboundCall

__all__ = ["EdgeCredentials", "NotDeliveredError", "Notifiable", "Notifier"]


class Notifiable(Protocol):
    """Something that D1 tells of."""

    @property
    def operation_id(self) -> str:
        """D1's id of the operation."""
        ...

    @property
    def call(self) -> OutboundCall:
        """With which call it is told."""
        ...

    @property
    def ids(self) -> Mapping[str, str]:
        """What stands in the call's path, but for the issuer's id."""
        ...

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        ...


class Notifier:
    """Sends notifications to the edge."""

    def __init__(self, edge: EdgeClient) -> None:
        self._edge = edge

    async def send(
        self,
        notification: Notifiable,
        *,
        attempts: int = 1,
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> int:
        """Send one notification.

        Args:
            notification: What to tell.
            attempts: How often to try until the edge answers 2xx.
            backoff_seconds: The pause after the first attempt; it doubles with each further one.

        Returns:
            The HTTP status that the edge answered to the last attempt.

        Raises:
            NotDeliveredError: The last attempt got no answer in time, or no token.
        """
        for attempt in range(attempts - 1):
            try:
                status = await self._post(notification)
            except NotDeliveredError:
                status = None
            if status is not None and _is_success(status):
                return status
            await asyncio.sleep(backoff_seconds * 2**attempt)
        return await self._post(notification)

    async def send_all(self, notifications: Iterable[Notifiable]) -> list[int]:
        """Send notifications one after the other; the result and what is raised are as for `send`."""
        return [await self.send(notification) for notification in notifications]

    async def deliver(self, notification: Notifiable) -> int:
        """Send one notification as often as D1 does, until the edge takes it; returns the status of success.

        Raises:
            NotDeliveredError: It was not taken.
        """
        status = await self.send(notification, attempts=NOTIFICATION_ATTEMPTS)
        if not _is_success(status):
            raise NotDeliveredError(f"The edge answered {status}")
        return status

    async def _post(self, notification: Notifiable) -> int:
        answer = await self._edge.call(
            notification.call,
            notification.ids,
            correlation_id=notification.operation_id,
            body=notification.body(),
        )
        return answer.status


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
