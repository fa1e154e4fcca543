"""``d1-gateway-client call``: one call of the gateway, from JSON to JSON."""

import json
import uuid
from typing import Annotated

import typer
from google.protobuf.message import Message

from d1_gateway_client import GatewayError
from d1_gateway_client.cli.connect import (
    Address,
    CaFile,
    CertificateFile,
    Connection,
    KeyFile,
    ServerName,
    TokenFile,
    connected,
    failure,
)
from d1_gateway_client.cli.descriptors import as_client_message, to_json
from d1_gateway_client.cli.output import FAILED, INTERRUPTED, UNUSABLE, put, refused, tell
from d1_gateway_client.cli.request_json import UnusableRequestError, parse, read_json
from d1_gateway_client.cli.rpc_names import Rpc, UnusableRpcError, find

__all__ = ["call"]

_MAX_SECONDS = 3600.0


def call(
    name: Annotated[str, typer.Argument(metavar="SERVICE/METHOD", help="For example CardService/SuspendCard.")],
    *,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="The request as JSON; - is standard input. Empty if omitted."),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="Idempotency key of a mutation: a UUID. Generated if omitted.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Deadline of the call, retries included; 10 if omitted.")
    ] = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Call an rpc of the gateway. Request and response are proto3 JSON.

    A mutation prints its request id to standard error before it is sent.

    A failed call prints one line to standard error that says why, then a line of JSON with the details.

    Exit status:

    - 0: the call succeeded

    - 1: the call failed

    - 2: the call is invalid; nothing was sent

    - 130: Ctrl-C; a mutation may have been made
    """
    if timeout is not None and not 0 < timeout <= _MAX_SECONDS:
        raise refused(f"--timeout: must be above 0 and at most {_MAX_SECONDS:.0f}")
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    try:
        rpc = _found(name)
        request = _request(rpc, data, request_id)
        _make(connection, rpc, request, timeout)
    except UnicodeEncodeError:
        raise refused("the command line is not valid UTF-8") from None
    except KeyboardInterrupt:
        raise refused("interrupted", INTERRUPTED) from None


def _found(name: str) -> Rpc:
    try:
        return find(name)
    except UnusableRpcError as error:
        raise refused(str(error)) from None


def _request(rpc: Rpc, data: str | None, request_id: str | None) -> Message:
    try:
        request = parse(b"{}" if data is None else read_json("--data", data), rpc.method.input_type)
    except UnusableRequestError as error:
        for mistake in error.mistakes:
            tell(f"request: {mistake}")
        raise typer.Exit(UNUSABLE) from None
    _set_request_id(rpc, request, request_id)
    return request


def _set_request_id(rpc: Rpc, request: Message, request_id: str | None) -> None:
    """Set the request id of a mutation, and print it before anything is sent."""
    if not rpc.has_request_id:
        if request_id is not None:
            raise refused(f"--request-id: {rpc.method.name} takes none")
        return
    within: str = getattr(request, "request_id")  # noqa: B009 (its type is known at run time only)
    if request_id is not None and within not in {"", request_id}:
        raise refused("--request-id: the request contains a different one")
    chosen = within or request_id or str(uuid.uuid4())
    setattr(request, "request_id", chosen)  # noqa: B010 (as above)
    tell(f"request id {chosen}")


def _make(connection: Connection, rpc: Rpc, request: Message, timeout_seconds: float | None) -> None:
    with connected(connection) as client:
        limited = client if timeout_seconds is None else client.within(timeout_seconds)
        function = getattr(getattr(limited, rpc.client), rpc.function)
        try:
            response = function(as_client_message(request))
        except GatewayError as error:
            tell(failure(error, client))
            typer.echo(_details(error), err=True)
            raise typer.Exit(FAILED) from None
    put(to_json(response))


def _details(error: GatewayError) -> str:
    details = {
        **json.loads(to_json(error.detail)),
        "code": error.code.name,
        "reason": str(error.reason) if error.reason else "",
        "outcome": error.outcome.name,
        "message": error.message,
        "violations": [
            {"field": each.field, "description": each.description, "rule": each.rule} for each in error.violations
        ],
        "retryAfterSeconds": error.retry_after_seconds,
        "requestId": error.request_id,
    }
    return json.dumps({name: value for name, value in details.items() if value not in (None, "", [], {})})
