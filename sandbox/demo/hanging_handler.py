"""A handler that takes every callback request and replies to none, for the demonstration to kill.

Runs as a process of its own: ``python -m sandbox.demo.hanging_handler ADDRESS SERVER_CA CERTIFICATE KEY``. Writes a
line to standard output when it is connected, and one for each callback request.
"""

import asyncio
import sys
from pathlib import Path

import grpc

from issuer.callback.v1 import messages_pb2 as callback
from sandbox.common.pki import Identity
from sandbox.gateway import credentials
from sandbox.handler import Handler

__all__: list[str] = []


async def _hang(request: callback.CallbackRequest) -> None:
    _say(f"received {request.WhichOneof('request')}")


async def _run(address: str, shown: grpc.ChannelCredentials) -> None:
    async with (
        grpc.aio.secure_channel(address, shown) as channel,
        Handler.connect(channel, {"consumer_information": _hang, "deliver_otp": _hang}, name="hanging"),
    ):
        _say("connected")
        await asyncio.Event().wait()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], credentials(Path(sys.argv[2]), Identity(Path(sys.argv[3]), Path(sys.argv[4])))))
