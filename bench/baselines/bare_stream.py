"""The minimal relay of callbacks to a handler: the baseline of the broker and its checks.

The same aiohttp with the same TLS, route and response, over the same messages on a gRPC stream. A dictionary of
futures matches the replies. There are no registrations, deadlines, checks, acknowledgements or second handlers, and a
lost handler has no consequences.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc
import orjson
from aiohttp import web

from adapters.d1.callbacks.schema import CONSUMER_INFORMATION_PATH
from bench.baselines.parts import credentials
from gateway.aio.sockets import join
from gateway.settings import Settings
from gateway.tls import contexts
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import requests_pb2, service_pb2_grpc

__all__ = ["bare_stream"]


class _Stream(service_pb2_grpc.CallbackServiceServicer):
    """Sends callback requests to the latest handler."""

    def __init__(self) -> None:
        self._tokens = count()
        self._requests: asyncio.Queue[callback.CallbackRequest] = asyncio.Queue()
        self._replies: dict[str, asyncio.Future[callback.CallbackReply]] = {}

    async def HandleCallbacks(  # type: ignore[override] # noqa: N802 (it writes to the context; the rpc's name)
        self,
        requests: AsyncIterator[callback.HandleCallbacksRequest],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        await anext(requests)
        # The handler of the measurement waits for it once.
        await context.write(callback.HandleCallbacksResponse(registered=callback.HandlerRegistered()))
        reading = asyncio.create_task(self._read(requests))
        try:
            while True:
                await context.write(callback.HandleCallbacksResponse(callback_request=await self._requests.get()))
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[callback.HandleCallbacksRequest]) -> None:
        async for request in requests:
            self._replies.pop(request.callback_reply.token).set_result(request.callback_reply)

    async def get(self, request: web.Request) -> web.Response:
        """Respond with a consumer's information."""
        token = str(next(self._tokens))
        replied = self._replies[token] = asyncio.get_running_loop().create_future()
        consumer = requests_pb2.ConsumerInformationRequest(consumer_id=request.match_info["consumerId"])
        self._requests.put_nowait(callback.CallbackRequest(token=token, consumer_information=consumer))
        return web.Response(body=_json(await replied), content_type="application/json")


def _json(reply: callback.CallbackReply) -> bytes:
    person = reply.consumer_information.personal_information
    phone = person.mobile_phone_number
    return orjson.dumps(
        {
            "language": person.language,
            "firstName": person.first_name,
            "lastName": person.last_name,
            "mobilePhoneNumber": {"countryCode": phone.country_code, "phoneNumber": phone.phone_number},
        }
    )


@asynccontextmanager
async def bare_stream(settings: Settings) -> AsyncIterator[str]:
    """Serve for the duration of the block.

    Yields:
        The port for D1, a space, and the address for the handler.

    Raises:
        RuntimeError: No port is free, or the settings have no mutual TLS for handlers.
    """
    stream, server = _Stream(), grpc.aio.server()
    service_pb2_grpc.add_CallbackServiceServicer_to_server(stream, server)
    port = server.add_secure_port(join(settings.grpc.host, 0), credentials(settings.grpc))
    app = web.Application()
    app.router.add_get(CONSUMER_INFORMATION_PATH, stream.get)
    runner = web.AppRunner(app, access_log=None)
    await server.start()
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.edge.host, 0, ssl_context=contexts.edge_context(settings.edge)).start()
        yield f"{runner.addresses[0][1]} {join(settings.grpc.host, port)}"
    finally:
        await runner.cleanup()
        await server.stop(None)
