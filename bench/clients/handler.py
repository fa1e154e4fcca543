"""A handler with one reply: it replies to requests for consumer information at once.

Runs as a process of its own, ``python -m bench.clients.handler ADDRESS CA CERTIFICATE KEY``; writes a line to standard
output as soon as it is registered.
"""

import sys
from pathlib import Path

import grpc
import uvloop

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2, service_pb2_grpc
from issuer.consumer.v1 import personal_information_pb2 as personal
from sandbox.common.pki import Identity
from sandbox.gateway import credentials

__all__: list[str] = []

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


async def _handle(address: str, credentials: grpc.ChannelCredentials) -> None:
    async with grpc.aio.secure_channel(address, credentials) as channel:
        stream = service_pb2_grpc.CallbackServiceStub(channel).HandleCallbacks()
        await stream.write(callback.HandleCallbacksRequest(registration=_REGISTRATION))
        async for message in stream:
            match message.WhichOneof("message"):
                case "registered":
                    sys.stdout.write("registered\n")
                    sys.stdout.flush()
                case "callback_request":
                    reply = callback.CallbackReply(token=message.callback_request.token, consumer_information=_RESPONSE)
                    await stream.write(callback.HandleCallbacksRequest(callback_reply=reply))


if __name__ == "__main__":
    uvloop.run(_handle(sys.argv[1], credentials(Path(sys.argv[2]), Identity(Path(sys.argv[3]), Path(sys.argv[4])))))
