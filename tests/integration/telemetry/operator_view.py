"""A gateway as operators see it: the admin port, and D1's calls that cause activity."""

import asyncio
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.running import Running, notification_path

__all__ = ["NOTIFICATION_ROUTE", "OperatorView", "Samples"]

NOTIFICATION_ROUTE = "/notifications/d1/v1/issuers/{issuerId}/cards/{cardId}/3ds/notifications"
_SECONDS = 30.0


class Samples:
    """The result of a scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.all = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Return a sample's value; 0 if absent."""
        found = [each.value for each in self.all if each.name == f"d1_gateway_{name}" and each.labels == labels]
        assert len(found) <= 1
        return found[0] if found else 0.0

    def growth(self, before: "Samples", name: str, **labels: str) -> float:
        """Return by how much a sample has grown since another scrape."""
        return self.value(name, **labels) - before.value(name, **labels)


class OperatorView:
    """Queries a running gateway over its admin port."""

    def __init__(self, running: Running, session: aiohttp.ClientSession) -> None:
        self.running = running
        self._session = session

    async def scrape(self) -> Samples:
        async with self._session.get(self._url("/metrics")) as response:
            assert response.status == 200
            return Samples(await response.text())

    async def until(self, name: str, value: float, **labels: str) -> None:
        """Scrape until a sample has a value."""
        async with asyncio.timeout(_SECONDS):
            # The other side of a connection sends no event.
            while (await self.scrape()).value(name, **labels) != value:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def until_ready(self, status: int) -> Any:
        """Poll the readiness until it has a status; return the checks."""
        async with asyncio.timeout(_SECONDS):
            while (ready := await self.ready())[0] != status:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0.02)
        return ready[1]

    async def ready(self) -> tuple[int, Any]:
        """Return the readiness: the status, and the checks."""
        async with self._session.get(self._url("/readyz")) as response:
            return response.status, (await response.json())["checks"]

    async def get(self, path: str, **arguments: Any) -> tuple[int, str, str]:
        """Get a path: the status, the content type, the body."""
        async with self._session.get(self._url(path), **arguments) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.text()

    async def notify(self, operation_id: str = "op-1", card_id: str = "card-1") -> int:
        """Send a notification as D1; return the status."""
        body = {
            "operationId": operation_id,
            "operation": "3DS_FRICTIONLESS",
            "status": "SUCCESSFUL",
            "startTime": "2022-06-16T06:28:02.492Z",
            "consumerId": "consumer-1",
            "details": {},
        }
        return await self.call("POST", notification_path(card_id), body)

    async def call(self, method: str, path: str, body: Any = None) -> int:
        """Send a callback request as D1; return the status."""
        async with self._session.request(method, self.running.edge + path, json=body) as response:
            await response.read()
            return response.status

    def _url(self, path: str) -> str:
        return f"http://{self.running.addresses.admin}{path}"
