"""Calls by the name of the rpc. Needs d1-gateway-client."""

import json

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from d1_gateway_client import GatewayError
from gateway.cli.connection import Connection
from gateway.cli.opening import as_the_client_has_it, failure, opened
from gateway.cli.rpcs import Rpc
from gateway.cli.telling import FAILED, put, tell

__all__ = ["make"]


def make(connection: Connection, rpc: Rpc, request: Message, timeout_seconds: float | None) -> None:
    """Make a call, and write its response.

    Args:
        connection: Whom to call.
        rpc: What to call.
        request: Of the rpc's type.
        timeout_seconds: How long it may take with its retries; None for the client's own limit.

    Raises:
        typer.Exit: It failed; standard error says why.
    """
    with opened(connection) as client:
        limited = client if timeout_seconds is None else client.within(timeout_seconds)
        function = getattr(getattr(limited, rpc.client), rpc.function)
        try:
            response = function(as_the_client_has_it(request))
        except GatewayError as error:
            tell(failure(error, client))
            typer.echo(_details(error), err=True)
            raise typer.Exit(FAILED) from None
    put(MessageToJson(GetMessageClass(rpc.method.output_type).FromString(bytes(response))))


def _details(error: GatewayError) -> str:
    details = {
        "code": error.code.name,
        "reason": error.reason_name,
        "outcome": error.outcome.name,
        "message": error.message,
        "violations": [
            {"field": each.field, "description": each.description, "rule": each.rule} for each in error.violations
        ],
        "retryAfterSeconds": error.retry_after_seconds,
        "correlationId": error.correlation_id,
        "requestId": error.request_id,
        "metadata": dict(error.metadata),
    }
    return json.dumps({name: value for name, value in details.items() if value not in (None, "", [], {})})
