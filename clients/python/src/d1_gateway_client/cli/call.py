"""``d1-gateway call``: one call of the gateway, from JSON to JSON."""

import errno
import os
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.message import Message

from gateway.cli.connection import Address, CaFile, CertificateFile, Connection, KeyFile, ServerName, TokenFile
from gateway.cli.requests import UnusableRequestError, parse
from gateway.cli.rpcs import Rpc, UnusableRpcError, find
from gateway.cli.telling import INTERRUPTED, UNUSABLE, needing_the_client, refused, tell

__all__ = ["call"]

_LONGEST_SECONDS = 3600.0


def call(
    name: Annotated[str, typer.Argument(metavar="SERVICE/METHOD", help="For example CardService/SuspendCard.")],
    *,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="The request as JSON; - is standard input. Empty if not given."),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="For a change: under the same id it is not made twice. Made if not given.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long it may take, retries included; 10 if not given.")
    ] = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Call an rpc of the gateway: request and response are JSON, as the contracts in proto/ have them.

    A change tells its request id on standard error.

    A failure tells there why, in one line; a second line has it as JSON.

    Exit status:

    - 0: there is a response

    - 1: the call failed

    - 2: it cannot be made; nothing was sent

    - 130: Ctrl-C; a change may have been made
    """
    with needing_the_client():
        from gateway.cli import calling  # noqa: PLC0415 (the client need not be there for other commands)
    if timeout is not None and not 0 < timeout <= _LONGEST_SECONDS:
        raise refused(f"--timeout: has to be above 0, and {_LONGEST_SECONDS:.0f} at most")
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    try:
        rpc = _found(name)
        request = _request(rpc, data, request_id)
        calling.make(connection, rpc, request, timeout)
    except UnicodeEncodeError:
        raise refused("the command line is no UTF-8 text") from None
    except KeyboardInterrupt:
        raise refused("interrupted", INTERRUPTED) from None


def _found(name: str) -> Rpc:
    try:
        return find(name)
    except UnusableRpcError as error:
        raise refused(str(error)) from None


def _request(rpc: Rpc, data: str | None, request_id: str | None) -> Message:
    try:
        request = parse(_read(data), rpc.method.input_type)
    except UnusableRequestError as error:
        for mistake in error.mistakes:
            tell(f"request: {mistake}")
        raise typer.Exit(UNUSABLE) from None
    _name(rpc, request, request_id)
    return request


def _read(data: str | None) -> bytes:
    if data is None:
        return b"{}"
    try:
        return sys.stdin.buffer.read() if data == "-" else Path(data).read_bytes()
    except (OSError, ValueError) as error:
        # JSON in the place of a file may hold card data, and is not said again.
        if data.lstrip().startswith("{") or not isinstance(error, OSError):
            raise refused("--data: takes a file, or - for standard input: others see a command line") from None
        what = "standard input" if data == "-" else data
        raise refused(f"--data: {what}: {os.strerror(error.errno or errno.EIO)}") from None


def _name(rpc: Rpc, request: Message, request_id: str | None) -> None:
    """Give a change its request id, and say it before anything is sent."""
    if not rpc.has_request_id:
        if request_id is not None:
            raise refused(f"--request-id: {rpc.method.name} changes nothing that has one")
        return
    within: str = getattr(request, "request_id")  # noqa: B009 (its type is known at run time only)
    if request_id is not None and within not in {"", request_id}:
        raise refused("--request-id: the request has another one")
    chosen = within or request_id or str(uuid.uuid4())
    setattr(request, "request_id", chosen)  # noqa: B010 (as above)
    tell(f"request id {chosen}")
