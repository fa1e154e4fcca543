"""Gateways in this process that share a NATS server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from gateway.settings import CallbackSettings, Settings
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification, new_details
from sandbox.nats import NatsServer
from tests.contract.card_rpcs import prepare
from tests.integration.nats.nats_storages import settings_for_nats
from tests.running import Running, edge_session, running_gateway, settings_for

__all__ = ["Gateways", "sharing_settings", "two_gateways"]

_CONSUMER = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1"
_DEADLINE_SECONDS = 8.0


def sharing_settings(sandbox: Sandbox, server: NatsServer, folder: Path) -> Settings:
    """Return the settings of gateways that share a server, under an unused prefix."""
    key_file = folder / "first-replies.key"
    key_file.touch(mode=0o600)
    key_file.write_text("0a" * 32)
    settings = settings_for(sandbox, folder)
    kinds = "consumer_information", "deliver_otp", "authenticate", "authentication_result", "card_credentials"
    deadlines = {kind: {"deadline_seconds": _DEADLINE_SECONDS} for kind in kinds}
    return settings.model_copy(
        update={
            "nats": settings_for_nats(server),
            "idempotency": settings.idempotency.model_copy(update={"key_file": key_file}),
            "callbacks": CallbackSettings.model_validate(deadlines),
        }
    )


@dataclass(frozen=True, slots=True)
class Gateways:
    """Two gateways, and D1's HTTP client."""

    nats: NatsServer
    prefix: str
    here: Running
    there: Running
    session: aiohttp.ClientSession

    async def call(
        self,
        path: str = "",
        body: object = None,
        *,
        gateway: Running | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Call the edge here, or another gateway's, like D1: POST with a body, GET without. Returns status and JSON."""
        url = (gateway or self.here).edge + _CONSUMER + path
        method = "GET" if body is None else "POST"
        async with self.session.request(method, url, json=body, headers=headers) as response:
            return response.status, None if response.status == 204 else await response.json()

    async def notify(self, operation_id: str) -> int:
        """Send a notification like D1. Returns the status."""
        notification = Notification("card-1", operation_id, datetime.now(UTC), details=new_details())
        return await self.there.sandbox.notifier.send(notification)

    async def restart_nats(self) -> None:
        """Start the server again, and wait until it is used again."""
        await self.nats.restart()
        async with asyncio.timeout(30):
            while await self.notify("op_back") != 204:  # noqa: ASYNC110  again until it is taken
                await asyncio.sleep(0.05)


@asynccontextmanager
async def two_gateways(folder: Path) -> AsyncIterator[Gateways]:
    """Run a NATS server, and two gateways that share it."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(folder / "keys"))
        prepare(sandbox.store)
        nats = await stack.enter_async_context(await NatsServer.start(folder / "nats"))
        settings = sharing_settings(sandbox, nats, folder)
        assert settings.nats is not None
        here, there = [await stack.enter_async_context(running_gateway(sandbox, settings)) for _ in range(2)]
        session = await stack.enter_async_context(edge_session(sandbox))
        yield Gateways(nats, settings.nats.prefix, here, there, session)
