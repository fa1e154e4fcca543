"""What the parts of the demonstration share."""

from dataclasses import dataclass
from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sandbox.demo.notification_sender import NotificationSender
from sandbox.demo.steps import Steps, UnexpectedError
from sandbox.gateway import GatewayProcess
from sandbox.sandbox import Sandbox

__all__ = ["CALL_SECONDS", "Stage", "error_info"]

CALL_SECONDS = 5.0
"""The deadline of every call, in seconds."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The simulator, the gateway, the printed steps and D1's notifications."""

    steps: Steps
    sandbox: Sandbox
    gateway: GatewayProcess
    channel: grpc.aio.Channel
    sender: NotificationSender


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a failed call.

    Raises:
        UnexpectedError: The error has none.
    """
    info = error_details_pb2.ErrorInfo()
    # The stubs exclude asyncio errors, but the function reads them just as well.
    status = rpc_status.from_call(cast("grpc.Call", error))
    if status is None or not status.details[0].Unpack(info):
        raise UnexpectedError(f"the error has no details: {error.code().name}")
    return info
