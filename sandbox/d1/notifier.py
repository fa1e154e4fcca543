"""D1 as a client: it notifies the gateway's edge over mutual TLS, with a bearer token where one was agreed."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from yarl import URL

from sandbox.d1.notification import Notification

__all__ = ["EdgeCredentials", "NotDeliveredError", "Notifier"]

_TIMEOUT = aiohttp.ClientTimeout(total=5)


class NotDeliveredError(Exception):
    """The edge did not answer, or D1 got no token from it."""


@dataclass(frozen=True, slots=True)
class EdgeCredentials:
    """With what D1 asks the edge for a token (D1 API: outbound OAuth 2.0)."""

    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None

    def authorization(self) -> str:
        """The ``Authorization`` header: Basic, in base64url (RFC 4648, section 5) as D1 writes it."""
        pair = f"{self.client_id}:{self.client_secret}".encode()
        return f"Basic {base64.urlsafe_b64encode(pair).decode()}"


class Notifier:
    """Sends notifications to the edge."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        issuer_id: str,
        *,
        clock: Callable[[], float],
        credentials: EdgeCredentials | None = None,
    ) -> None:
        """Make a notifier; `run` makes one with its session.

        Args:
            session: Shows D1's client certificate.
            issuer_id: Whose cards the notifications are of.
            clock: Tells the time, in seconds since 1970 (UTC).
            credentials: For a bearer token; None if mutual TLS alone was agreed.
        """
        self._session = session
        self._issuer_id = issuer_id
        self._clock = clock
        self._credentials = credentials
        self._edge: URL | None = None
        self._token = ""
        self._token_expiry = 0.0
        self._token_fetch = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def run(
        cls,
        tls: ssl.SSLContext,
        issuer_id: str,
        *,
        clock: Callable[[], float],
        credentials: EdgeCredentials | None = None,
    ) -> AsyncIterator["Notifier"]:
        """Have a notifier for as long as the block lasts; the arguments are those of the class."""
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
            yield cls(session, issuer_id, clock=clock, credentials=credentials)

    def set_edge(self, url: str) -> None:
        """Tell where the edge is, for example ``https://127.0.0.1:8443``. A token of an earlier one is forgotten."""
        self._edge = URL(url)
        self._token_expiry = 0.0

    async def send(
        self,
        notification: Notification,
        *,
        attempts: int = 1,
        backoff_seconds: float = 0.2,
    ) -> int:
        """Send one notification.

        Args:
            notification: What to tell.
            attempts: How often to try until the edge answers 2xx.
            backoff_seconds: The pause after the first attempt; it doubles with each further one.

        Returns:
            The HTTP status that the edge answered to the last attempt.

        Raises:
            NotDeliveredError: The last attempt got no answer within 5 seconds, or no token.
        """
        for attempt in range(attempts - 1):
            try:
                status = await self._post(notification)
            except NotDeliveredError:
                status = None
            if status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                return status
            await asyncio.sleep(backoff_seconds * 2**attempt)
        return await self._post(notification)

    async def send_all(self, notifications: Iterable[Notification]) -> list[int]:
        """Send notifications one after the other; the result and what is raised are as for `send`."""
        return [await self.send(notification) for notification in notifications]

    async def _post(self, notification: Notification) -> int:
        edge = self._require_edge()
        path = f"notifications/d1/v1/issuers/{self._issuer_id}/cards/{notification.card_id}/3ds/notifications"
        headers = {"x-correlation-id": notification.operation_id}
        if self._credentials is not None:
            headers["Authorization"] = f"Bearer {await self._bearer_token(self._credentials)}"
        try:
            async with self._session.post(edge / path, json=notification.body(), headers=headers) as answer:
                if answer.status == HTTPStatus.UNAUTHORIZED:
                    self._token_expiry = 0.0
                return answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotDeliveredError(f"The edge did not answer: {type(error).__name__}") from None

    async def _bearer_token(self, credentials: EdgeCredentials) -> str:
        async with self._token_fetch:
            if self._clock() >= self._token_expiry:
                self._token, lifetime_seconds = await self._fetch_token(credentials)
                self._token_expiry = self._clock() + lifetime_seconds
            return self._token

    async def _fetch_token(self, credentials: EdgeCredentials) -> tuple[str, float]:
        form = {"grant_type": "client_credentials"}
        if credentials.scope is not None:
            form["scope"] = credentials.scope
        url = self._require_edge() / "authz/d1/v1/oauth2/token"
        headers = {"Authorization": credentials.authorization()}
        try:
            async with self._session.post(url, data=form, headers=headers) as answer:
                answer.raise_for_status()
                token = await answer.json()
                if token["token_type"] != "Bearer":  # noqa: S105 - not the token
                    raise NotDeliveredError("The edge gave no bearer token")
                # A string in D1's specification; without it, the token serves once.
                return str(token["access_token"]), float(token.get("expires_in", 0))
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise NotDeliveredError(f"The edge gave no token: {type(error).__name__}") from None

    def _require_edge(self) -> URL:
        if self._edge is None:
            raise NotDeliveredError("No edge is set")
        return self._edge
