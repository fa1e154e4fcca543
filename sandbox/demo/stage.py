"""What every part of the demonstration has at hand."""

from dataclasses import dataclass
from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sandbox.demo.steps import Steps, UnexpectedError
from sandbox.demo.told import Told
from sandbox.gateway import GatewayProcess
from sandbox.sandbox import Sandbox

__all__ = ["CALL_SECONDS", "Stage", "error_info"]

CALL_SECONDS = 5.0
"""The deadline of every call."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The simulator, the gateway, the steps that are taken, and what D1 has told."""

    steps: Steps
    sandbox: Sandbox
    gateway: GatewayProcess
    channel: grpc.aio.Channel
    told: Told


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a failed call.

    Raises:
        UnexpectedError: It has none.
    """
    info = error_details_pb2.ErrorInfo()
    # Sync and asyncio errors look the same to it, whatever its stubs say.
    status = rpc_status.from_call(cast("grpc.Call", error))
    if status is None or not status.details[0].Unpack(info):
        raise UnexpectedError(f"an error without details: {error.code().name}")
    return info
