"""The load's requests, as D1 makes them and as ready bytes: notifications, and requests for consumer information."""

import itertools
import secrets
from typing import Literal, Protocol, TypeAlias

import orjson

from sandbox.d1.model.notification import new_details

__all__ = ["CallbackRequests", "Kind", "Notifications", "Traffic"]

Kind: TypeAlias = Literal["notifications", "callbacks"]
"""The kinds of requests."""

_SUBJECTS = 1000
_PLACE = "%012d"
_CARD = "card_%04d"
_CONSUMER = "consumer_%04d"


class Traffic(Protocol):
    """Makes requests of one kind."""

    def request(self) -> bytes:
        """Return the next request."""
        ...


class Notifications:
    """Makes notifications that differ in operation and card, all of the same length."""

    def __init__(self, issuer_id: str) -> None:
        """Prepare the constant parts.

        Args:
            issuer_id: The issuer of the cards.
        """
        # A further run on the same log must not look like duplicates of an earlier one.
        operation_id = f"op_{secrets.token_hex(10)}{_PLACE}"
        body = orjson.dumps(
            {
                "operationId": operation_id,
                "operation": "3DS_CHALLENGE_OOB",
                "status": "SUCCESSFUL",
                "startTime": "2026-01-31T12:34:56.789Z",
                "consumerId": "consumer_bench",
                "details": new_details(),
            }
        )
        head = (
            f"POST /notifications/d1/v1/issuers/{issuer_id}/cards/{_CARD}/3ds/notifications HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\n"
            f"x-correlation-id: {operation_id}\r\n"
            "Accept: */*\r\n"
            "User-Agent: bench\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body % 0)}\r\n"
            "\r\n"
        )
        self._form = head.encode() + body
        self._places = itertools.count()

    def request(self) -> bytes:
        """Return the next request."""
        place = next(self._places)
        return self._form % (place % _SUBJECTS, place, place)


class CallbackRequests:
    """Makes requests for the information of different consumers."""

    def __init__(self, issuer_id: str) -> None:
        """Prepare the constant parts.

        Args:
            issuer_id: The issuer of the consumers.
        """
        head = (
            f"GET /banking/d1/v1/issuers/{issuer_id}/consumers/{_CONSUMER} HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\n"
            f"x-correlation-id: q_{secrets.token_hex(8)}{_PLACE}\r\n"
            "Accept: */*\r\n"
            "User-Agent: bench\r\n"
            "\r\n"
        )
        self._form = head.encode()
        self._places = itertools.count()

    def request(self) -> bytes:
        """Return the next request."""
        place = next(self._places)
        return self._form % (place % _SUBJECTS, place)
