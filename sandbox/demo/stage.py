"""What the parts of the demonstration share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import grpc
from grpc_status import rpc_status

from issuer.common.v1.error_pb2 import ErrorDetail, ErrorOutcome, ErrorReason
from sandbox.demo.notification_sender import NotificationSender
from sandbox.demo.steps import Steps, UnexpectedError, expect
from sandbox.gateway import GatewayProcess
from sandbox.sandbox import Sandbox

__all__ = ["CALL_SECONDS", "Stage", "answering", "expect_error"]

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


@asynccontextmanager
async def answering(stage: Stage) -> AsyncIterator[None]:
    """Keep the sandbox's handler at the gateway for the duration of the block; it answers nothing until told to."""
    issuer = stage.sandbox.issuer
    await issuer.answer(())
    running = asyncio.create_task(issuer.run(stage.channel))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def expect_error(
    error: grpc.aio.AioRpcError, reason: "ErrorReason.ValueType", outcome: "ErrorOutcome.ValueType"
) -> str:
    """Check the reason and the outcome of a failed call, and return them as text.

    Raises:
        UnexpectedError: The error has others, or none.
    """
    detail = ErrorDetail()
    # The stubs exclude asyncio errors, but the function reads them just as well.
    status = rpc_status.from_call(cast("grpc.Call", error))
    if status is None or not any(each.Unpack(detail) for each in status.details):
        raise UnexpectedError(f"the error has no details: {error.code().name}")
    reason_name = ErrorReason.Name(detail.reason).removeprefix("ERROR_REASON_")
    outcome_name = ErrorOutcome.Name(detail.outcome).removeprefix("ERROR_OUTCOME_")
    text = f"{error.code().name}, reason {reason_name}, outcome {outcome_name}"
    expect((detail.reason, detail.outcome) == (reason, outcome), text)
    return text
