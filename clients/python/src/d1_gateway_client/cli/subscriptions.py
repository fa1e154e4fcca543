"""``d1-gateway-client subscriptions``: an issuer's named subscriptions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, TypeAlias

import typer

from d1_gateway_client import GatewayClient, GatewayError
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
from d1_gateway_client.cli.descriptors import to_json
from d1_gateway_client.cli.output import FAILED, INTERRUPTED, one_line, put, refused
from d1_gateway_client.contracts.google.protobuf import Timestamp
from d1_gateway_client.contracts.issuer.notification.v1 import Subscription

__all__ = ["app"]

app = typer.Typer(help="Manage named subscriptions.", no_args_is_help=True)

_HEADER: Final = ("NAME", "LAG", "WATCHERS", "COMMITTED", "CURSOR")

Issuer: TypeAlias = Annotated[str | None, typer.Option(help="Issuer id, if the gateway serves several.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


@app.command("list")
def list_(
    *,
    json: Json = False,
    issuer: Issuer = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Print all subscriptions by name: lag, watchers, time of the last commit, committed cursor.

    Exit status:

    - 0: all are printed

    - 1: the gateway refuses the list or cannot be reached

    - 2: the command line is invalid
    """
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    with _calling(connection) as client:
        if not json:
            put(_line(_HEADER))
        for each in client.notifications.subscriptions(issuer_id=issuer or ""):
            put(to_json(each, indent=None) if json else _line(_cells(each)))


@contextmanager
def _calling(connection: Connection) -> Iterator[GatewayClient]:
    """Open a client, and end the command with one line if a call fails."""
    try:
        with connected(connection) as client:
            try:
                yield client
            except GatewayError as error:
                raise refused(failure(error, client), FAILED) from None
    except UnicodeEncodeError:
        raise refused("the command line is not valid UTF-8") from None
    except KeyboardInterrupt:
        raise refused("interrupted", INTERRUPTED) from None


def _cells(shown: Subscription) -> tuple[str, ...]:
    return (
        shown.name,
        str(shown.lag),
        str(shown.watchers),
        "-" if shown.commit_time is None else Timestamp.timestamp_to_json(shown.commit_time),
        shown.committed_cursor,
    )


def _line(cells: tuple[str, ...]) -> str:
    name, lag, watchers, time, cursor = map(one_line, cells)
    return f"{name:32}  {lag:>10}  {watchers:>8}  {time:27}  {cursor}"
