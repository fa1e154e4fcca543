"""``d1-gateway-client subscriptions``: an issuer's named subscriptions."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
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
from d1_gateway_client.cli.filters import UnusableWordError, time_ago
from d1_gateway_client.cli.output import FAILED, INTERRUPTED, one_line, put, refused
from d1_gateway_client.contracts.google.protobuf import Timestamp
from d1_gateway_client.contracts.issuer.notification.v1 import (
    DeleteSubscriptionRequest,
    GetSubscriptionRequest,
    ResetSubscriptionRequest,
    StartPosition,
    Subscription,
)

__all__ = ["app"]

app = typer.Typer(help="Manage named subscriptions.", no_args_is_help=True)

_HEADER: Final = ("NAME", "LAG", "WATCHERS", "COMMITTED", "CURSOR")

_TARGET: Final = "Target (exactly one)"
_MAX_TOKEN: Final = 2**64 - 1

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The subscription's name.")]
FromStart: TypeAlias = Annotated[
    bool, typer.Option("--from-start", help="The oldest notification kept.", rich_help_panel=_TARGET)
]
Latest: TypeAlias = Annotated[
    bool, typer.Option("--latest", help="Notifications from now on.", rich_help_panel=_TARGET)
]
Since: TypeAlias = Annotated[
    str | None, typer.Option(metavar="AGO", help="This long ago: 90s, 10m, 2h, 1d.", rich_help_panel=_TARGET)
]
After: TypeAlias = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="After this cursor.", rich_help_panel=_TARGET)
]
FencingToken: TypeAlias = Annotated[
    int,
    typer.Option(
        min=0, max=_MAX_TOKEN, metavar="TOKEN", help="That of the active watcher. Omitted: there must be none."
    ),
]
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

    - 130: Ctrl-C before the end
    """
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    with _calling(connection) as client:
        if not json:
            put(_line(_HEADER))
        for each in client.notifications.subscriptions(issuer_id=issuer or ""):
            put(to_json(each, indent=None) if json else _line(_cells(each)))


@app.command()
def show(
    name: Name,
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
    """Print a subscription: lag, watchers, time of the last commit, committed cursor.

    Exit status:

    - 0: it is printed

    - 1: there is no such subscription, the gateway refuses or cannot be reached

    - 2: the command line is invalid

    - 130: Ctrl-C before the end
    """
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    with _calling(connection) as client:
        request = GetSubscriptionRequest(issuer_id=issuer or "", subscription=name)
        shown = client.notifications.get_subscription(request).subscription or Subscription()
        if json:
            put(to_json(shown, indent=None))
        else:
            put(_line(_HEADER))
            put(_line(_cells(shown)))


@app.command()
def reset(
    name: Name,
    *,
    from_start: FromStart = False,
    latest: Latest = False,
    since: Since = None,
    after: After = None,
    fencing_token: FencingToken = 0,
    issuer: Issuer = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Move a subscription, back or forth: its next watch begins there. Print the new committed cursor.

    Makes the subscription if there is none, so that its first watch begins there too.

    Exit status:

    - 0: the subscription is moved

    - 1: the gateway refuses (the subscription has an active watcher, for example) or cannot be reached

    - 2: the command line is invalid

    - 130: Ctrl-C; the subscription may be moved
    """
    request = ResetSubscriptionRequest(issuer_id=issuer or "", subscription=name, fencing_token=fencing_token)
    _set_target(request, since, after, from_start=from_start, latest=latest)
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    with _calling(connection) as client:
        put(one_line(client.notifications.reset_subscription(request).committed_cursor))


@app.command()
def delete(
    name: Name,
    *,
    issuer: Issuer = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Forget a subscription and its committed cursor. The notifications stay.

    Exit status:

    - 0: the subscription is deleted

    - 1: the gateway refuses (the subscription has a watcher, for example) or cannot be reached

    - 2: the command line is invalid

    - 130: Ctrl-C; the subscription may be deleted
    """
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    with _calling(connection) as client:
        client.notifications.delete_subscription(DeleteSubscriptionRequest(issuer_id=issuer or "", subscription=name))


def _set_target(
    request: ResetSubscriptionRequest, since: str | None, after: str | None, *, from_start: bool, latest: bool
) -> None:
    if (since is not None) + (after is not None) + from_start + latest != 1:
        raise refused("--from-start, --latest, --since, --after: expected exactly one of them")
    if after is not None:
        request.after_cursor = after
    elif since is None:
        request.position = StartPosition.EARLIEST if from_start else StartPosition.LATEST
    else:
        try:
            request.since_time = time_ago(since, datetime.now(UTC))
        except UnusableWordError as error:
            raise refused(str(error)) from None


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
        str(shown.watcher_count),
        "-" if shown.commit_time is None else Timestamp.timestamp_to_json(shown.commit_time),
        shown.committed_cursor,
    )


def _line(cells: tuple[str, ...]) -> str:
    name, lag, watchers, time, cursor = map(one_line, cells)
    return f"{name:32}  {lag:>10}  {watchers:>8}  {time:27}  {cursor}"
