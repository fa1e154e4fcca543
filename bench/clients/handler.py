"""Handlers with one reply: they reply to requests for consumer information at once.

Runs as a process of its own, ``python -m bench.clients.handler ADDRESS CA CERTIFICATE KEY COUNT``; writes a line to
standard output as soon as all are registered.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc
import uvloop

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2, service_pb2_grpc
from issuer.consumer.v1 import personal_information_pb2 as personal
from sandbox.common.pki import Identity
from sandbox.gateway import credentials

__all__: list[str] = []

_STREAMS_A_CONNECTION: Final = 50
_OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1),)
_REGISTRATION = callback.HandlerRegistration(
    name="bench",
    callback_kinds=[callback.CALLBACK_KIND_CONSUMER_INFORMATION],
    # More than the load ever has in flight.
    max_in_flight=64,
    # As in a busy handler; the bare stream of the comparison sends no acknowledgements at all.
    acknowledgement_mode=callback.ACKNOWLEDGEMENT_MODE_NOT_ACCEPTED,
)
_RESPONSE = replies_pb2.ConsumerInformationResponse(
    personal_information=personal.PersonalInformation(
        language="en-US",
        first_name="Lina",
        last_name="Haddad",
        mobile_phone_number=personal.PhoneNumber(country_code="+962", phone_number="790000000"),
    )
)


async def _handle(channel: grpc.aio.Channel, registered: asyncio.Semaphore) -> None:
    stream = service_pb2_grpc.CallbackServiceStub(channel).HandleCallbacks()
    await stream.write(callback.HandleCallbacksRequest(registration=_REGISTRATION))
    async for message in stream:
        match message.WhichOneof("message"):
            case "registered":
                registered.release()
            case "callback_request":
                reply = callback.CallbackReply(token=message.callback_request.token, consumer_information=_RESPONSE)
                await stream.write(callback.HandleCallbacksRequest(callback_reply=reply))


async def _run(address: str, credentials: grpc.ChannelCredentials, count: int) -> None:
    registered = asyncio.Semaphore(0)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as handling:
        channels = [
            await stack.enter_async_context(grpc.aio.secure_channel(address, credentials, _OWN_CONNECTION))
            for _ in range(-(-count // _STREAMS_A_CONNECTION))
        ]
        for number in range(count):
            handling.create_task(_handle(channels[number % len(channels)], registered))
            await registered.acquire()
        sys.stdout.write("registered\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _address, _ca, _certificate, _key, _count = sys.argv[1:]
    uvloop.run(_run(_address, credentials(Path(_ca), Identity(Path(_certificate), Path(_key))), int(_count)))
