"""The baseline without gRPC: FastAPI on uvicorn takes JSON over HTTP/1.1 and passes it on with httpx.

Runs as a process of its own, ``python -m bench.unary.json_server SURROUNDINGS``; see `bench.unary.child`. It does what
`bench.unary.passing` does; its models validate what they declare, as usual with FastAPI.
"""

import asyncio
import socket
import sys
import uuid
from typing import Final

import httpx
import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import BaseModel

from bench.unary.child import serve_counts
from bench.unary.surroundings import Surroundings, collect_rarely

__all__: list[str] = []

_START_SECONDS: Final = 10.0


class _Expiry(BaseModel):
    month: int
    year: int


class _Credentials(BaseModel):
    pan: str
    expiry: _Expiry


class _RegisterCard(BaseModel):
    card_id: str
    consumer_id: str
    card_product_id: str
    state: str
    credentials: _Credentials


class _SuspendCard(BaseModel):
    card_id: str
    reason_code: str


def _app(upstream: httpx.AsyncClient, surroundings: Surroundings) -> FastAPI:
    app = FastAPI()

    async def send(method: str, place: str, body: dict[str, str]) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {surroundings.token}", "x-correlation-id": uuid.uuid4().hex}
        (await upstream.request(method, f"{surroundings.cards}/{place}", json=body, headers=headers)).raise_for_status()
        return {}

    @app.post("/RegisterCard")
    async def register_card(request: _RegisterCard) -> dict[str, str]:
        body = {
            "consumerId": request.consumer_id,
            "cardProductId": request.card_product_id,
            "state": request.state,
            "encryptedData": surroundings.encrypted_data,
        }
        return await send("PUT", request.card_id, body)

    @app.post("/SuspendCard")
    async def suspend_card(request: _SuspendCard) -> dict[str, str]:
        return await send("POST", f"{request.card_id}/operations:suspend", {"reasonCode": request.reason_code})

    return app


async def _serve(surroundings: Surroundings) -> None:
    most = surroundings.connections
    limits = httpx.Limits(
        max_connections=most, max_keepalive_connections=most, keepalive_expiry=surroundings.idle_seconds
    )
    async with httpx.AsyncClient(
        base_url=surroundings.upstream_url, verify=surroundings.upstream_context(), limits=limits, trust_env=False
    ) as upstream:
        server = uvicorn.Server(
            uvicorn.Config(
                _app(upstream, surroundings),
                access_log=False,
                log_level="warning",
                ssl_certfile=surroundings.certificate if surroundings.has_tls else None,
                ssl_keyfile=surroundings.key if surroundings.has_tls else None,
            )
        )
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        serving = asyncio.create_task(server.serve([listener]))
        async with asyncio.timeout(_START_SECONDS):
            # uvicorn sends no event for it.
            while not server.started:  # noqa: ASYNC110  a process has no event for it
                await asyncio.sleep(0.01)
        collect_rarely()
        await serve_counts([listener.getsockname()[1]], lambda: 0)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    uvloop.run(_serve(Surroundings.from_json(sys.argv[1])))
