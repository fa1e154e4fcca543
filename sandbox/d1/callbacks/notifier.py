"""D1's notifications to the gateway's edge, repeated until the edge accepts or refuses them."""

import asyncio
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from sandbox.d1.callbacks.edge_client import EdgeClient, EdgeCredentials, LostError, NotDeliveredError
from sandbox.d1.model.contract import BACKOFF_SECONDS, NOTIFICATION_ATTEMPTS, Callback

__all__ = ["EdgeCredentials", "NotDeliveredError", "Notifiable", "Notifier"]


_FINAL = frozenset({HTTPStatus.BAD_REQUEST})
"""The failures after which D1 does not repeat a notification. Its page on the 400 of a sibling notification is cut
after "will no"; of other statuses nothing is public."""


class Notifiable(Protocol):
    """Something that D1 notifies."""

    @property
    def operation_id(self) -> str:
        """D1's id of the operation."""
        ...

    @property
    def call(self) -> Callback:
        """The callback that carries it."""
        ...

    @property
    def ids(self) -> Mapping[str, str]:
        """The path parameters except the issuer's id."""
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
            notification: The notification.
            attempts: The maximum number of attempts until the edge responds 2xx, or 400.
            backoff_seconds: The pause after the first attempt; it doubles with each further one.

        Returns:
            The HTTP status of the last attempt.

        Raises:
            NotDeliveredError: No response to the last attempt in time, or no token.
        """
        for attempt in range(attempts - 1):
            try:
                status = await self._post(notification)
            except LostError:
                raise
            except NotDeliveredError:
                status = None
            if status is not None and (_is_success(status) or status in _FINAL):
                return status
            await asyncio.sleep(backoff_seconds * 2**attempt)
        return await self._post(notification)

    async def send_all(self, notifications: Iterable[Notifiable]) -> list[int]:
        """Send notifications one after the other; result and errors as for `send`."""
        return [await self.send(notification) for notification in notifications]

    async def deliver(self, notification: Notifiable) -> int:
        """Send one notification with D1's number of attempts; return the status of success.

        Raises:
            NotDeliveredError: The edge did not accept it.
        """
        status = await self.send(notification, attempts=NOTIFICATION_ATTEMPTS)
        if not _is_success(status):
            raise NotDeliveredError(f"The edge responded {status}")
        return status

    async def _post(self, notification: Notifiable) -> int:
        response = await self._edge.call(
            notification.call,
            notification.ids,
            correlation_id=notification.operation_id,
            body=notification.body(),
        )
        return response.status


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
