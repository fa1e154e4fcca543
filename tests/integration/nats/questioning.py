"""Gateways in this process that share a NATS server, and D1's callbacks to one of them."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from gateway.settings import (
    CallbackPolicySettings,
    CallbackSettings,
    IdempotencySettings,
    NatsSettings,
    ResultPollSettings,
    Settings,
)
from sandbox import Sandbox
from sandbox.nats import NatsServer
from tests.running import Running, edge_session, running_gateway, settings_for

__all__ = ["CONSUMER", "Questioning", "questioning"]

CONSUMER = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1"


@dataclass(frozen=True, slots=True)
class Questioning:
    """Gateways, and D1's HTTP client."""

    nats: NatsServer
    gateways: Sequence[Running]
    session: aiohttp.ClientSession

    async def ask(self, gateway: int, path: str = "", body: object = None, **headers: str) -> tuple[int, Any]:
        """Call a gateway's edge like D1: POST with a body, GET without. Returns status and JSON."""
        url = self.gateways[gateway].edge + CONSUMER + path
        method = "GET" if body is None else "POST"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, None if answer.status == 204 else await answer.json()


@asynccontextmanager
async def questioning(folder: Path, count: int = 2, *, deadline_seconds: float = 8.0) -> AsyncIterator[Questioning]:
    """Run a NATS server, and gateways that share it."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(folder / "keys"))
        nats = await stack.enter_async_context(await NatsServer.start(folder / "nats"))
        key_file = folder / "sealing-key"
        key_file.touch(mode=0o600)
        key_file.write_text(os.urandom(32).hex())
        gateways = []
        for number in range(count):
            place = folder / f"gateway-{number}"
            place.mkdir()
            used = _shared(settings_for(sandbox, place), nats, key_file, deadline_seconds)
            gateways.append(await stack.enter_async_context(running_gateway(sandbox, used)))
        session = await stack.enter_async_context(edge_session(sandbox))
        yield Questioning(nats, gateways, session)


def _shared(settings: Settings, nats: NatsServer, key_file: Path, deadline_seconds: float) -> Settings:
    asked = CallbackPolicySettings(deadline_seconds=deadline_seconds)
    return settings.model_copy(
        update={
            "nats": NatsSettings(servers=(nats.url,), replicas=1),
            "idempotency": IdempotencySettings(key_file=key_file),
            "callbacks": CallbackSettings(
                consumer_information=asked,
                deliver_otp=asked,
                authenticate=asked,
                authentication_result=ResultPollSettings(deadline_seconds=deadline_seconds),
                card_credentials=asked,
            ),
        }
    )
