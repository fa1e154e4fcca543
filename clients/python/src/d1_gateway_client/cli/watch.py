"""``d1-gateway-client watch``: notifications in a terminal, endless or up to the current end of the event log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

import typer

from d1_gateway_client import GatewayClient, GatewayError, Watch
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
from d1_gateway_client.cli.filters import Kind, UnusableWordError, notification_filter, time_ago
from d1_gateway_client.cli.output import FAILED, INTERRUPTED, logged_to_stderr, put, refused, tell
from d1_gateway_client.cli.render import Layout, as_json, as_table
from d1_gateway_client.contracts.issuer.notification.v1 import (
    CommitCursorRequest,
    Notification,
    NotificationFilter,
    StartPosition,
    WatcherRole,
    WatchNotificationsRequest,
)
from d1_gateway_client.errors import DeadlineExceededError, UnavailableError

__all__ = ["watch"]

_HEARTBEAT = timedelta(seconds=0.2)
"""How soon the end is seen if the filter passes nothing."""
_FILTER = "Filter (all options must match; repeat an option for more values)"
_START = "Start (default: new notifications only; a subscription that exists: its committed cursor, and no other)"

Cards: TypeAlias = Annotated[list[str] | None, typer.Option(help="Card id.", rich_help_panel=_FILTER)]
Consumers: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Consumer id; also matches the consumer's cards.", rich_help_panel=_FILTER)
]
Kinds: TypeAlias = Annotated[list[Kind] | None, typer.Option(help="Notification kind.", rich_help_panel=_FILTER)]
Types: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--type", help="Operation type: frictionless, enroll-authn ...", rich_help_panel=_FILTER),
]
Statuses: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Operation status: successful, failed, pending.", rich_help_panel=_FILTER)
]
OperationIds: TypeAlias = Annotated[list[str] | None, typer.Option(help="D1's operation id.", rich_help_panel=_FILTER)]
Recovered: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--recovered/--no-recovered",
        help="Only what the gateway has fetched from D1's history, or nothing of it.",
        rich_help_panel=_FILTER,
    ),
]
Since: TypeAlias = Annotated[
    str | None, typer.Option(metavar="AGO", help="Start this long ago: 90s, 10m, 2h, 1d.", rich_help_panel=_START)
]
FromStart: TypeAlias = Annotated[
    bool, typer.Option("--from-start", help="Start at the oldest notification kept.", rich_help_panel=_START)
]
After: TypeAlias = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Start after this cursor.", rich_help_panel=_START)
]
SubscriptionName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Start at the subscription's committed cursor, and commit what is printed. "
        "Stands by while another watcher is active. `subscriptions reset` moves it.",
        rich_help_panel=_START,
    ),
]
Follow: TypeAlias = Annotated[
    bool,
    typer.Option("--follow/--no-follow", help="Keep streaming new notifications, or stop at the current end."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Issuer: TypeAlias = Annotated[str | None, typer.Option(help="Issuer id, if the gateway serves several.")]


def watch(
    *,
    card: Cards = None,
    consumer: Consumers = None,
    kind: Kinds = None,
    type_: Types = None,
    status: Statuses = None,
    operation_id: OperationIds = None,
    recovered: Recovered = None,
    since: Since = None,
    from_start: FromStart = False,
    after: After = None,
    subscription: SubscriptionName = None,
    follow: Follow = True,
    json: Json = False,
    issuer: Issuer = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Print notifications, oldest first, one per line. Those fetched from D1's history end in "recovered".

    Reconnects after a lost connection and prints nothing twice; with --no-follow, a lost connection is a failure.

    Exit status:

    - 0: end reached; Ctrl-C while following; the reader of the output is gone

    - 1: the gateway refuses the watch or cannot be reached

    - 2: the command line is invalid

    - 130: Ctrl-C before the end
    """
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    selection = _Selection(card, consumer, kind, type_, status, operation_id, recovered)
    layout = as_json() if json else as_table()
    try:
        request = WatchNotificationsRequest(
            issuer_id=issuer or "", subscription=subscription or "", filter=selection.to_filter()
        )
        _set_start(request, since, after, from_start=from_start, follow=follow)
        # gRPC would log what cannot be serialized, with a traceback.
        bytes(request)
        (_follow if follow else _read_to_the_end)(connection, request, layout)
    except UnusableWordError as error:
        raise refused(str(error)) from None
    except UnicodeEncodeError:
        raise refused("the command line is not valid UTF-8") from None
    except KeyboardInterrupt:
        raise typer.Exit(0 if follow else INTERRUPTED) from None


@dataclass(frozen=True, slots=True)
class _Selection:
    """The filter options of the command line; None where not given."""

    cards: list[str] | None
    consumers: list[str] | None
    kinds: list[Kind] | None
    types: list[str] | None
    statuses: list[str] | None
    operation_ids: list[str] | None
    recovered: bool | None

    def to_filter(self) -> NotificationFilter:
        return notification_filter(
            cards=self.cards or (),
            consumers=self.consumers or (),
            kinds=self.kinds or (),
            types=self.types or (),
            statuses=self.statuses or (),
            operation_ids=self.operation_ids or (),
            recovered=self.recovered,
        )


def _set_start(
    request: WatchNotificationsRequest, since: str | None, after: str | None, *, from_start: bool, follow: bool
) -> None:
    if (since is not None) + (after is not None) + from_start > 1:
        raise UnusableWordError("--since, --from-start, --after: expected at most one of them")
    if since is not None:
        request.since_time = time_ago(since, datetime.now(UTC))
    elif after is not None:
        request.after_cursor = after
    elif from_start:
        request.position = StartPosition.EARLIEST
    elif not (follow or request.subscription):
        raise UnusableWordError("--no-follow: expected --from-start, --since, --after or --subscription as well")


def _follow(connection: Connection, request: WatchNotificationsRequest, layout: Layout) -> None:
    with _opened(connection) as client:
        # Read first: a wrong address fails here, whereas a watch would retry forever.
        end = _end(client, request.issuer_id)
        is_given = request.position is not None or request.after_cursor is not None or request.since_time is not None
        if not (is_given or request.subscription):
            request.after_cursor = end
        watch = client.notifications.watch(
            subscription=request.subscription,
            issuer_id=request.issuer_id,
            after_cursor=request.after_cursor,
            position=request.position,
            since=request.since_time,
            filter=request.filter,
        )
        _put_header(layout)
        with watch:
            for received in watch:
                put(layout.line(received))
                if request.subscription:
                    _commit(watch, received)


def _read_to_the_end(connection: Connection, request: WatchNotificationsRequest, layout: Layout) -> None:
    with _opened(connection) as client:
        request.heartbeat_interval = _HEARTBEAT
        end = _sequence(_end(client, request.issuer_id))
        _put_header(layout)
        for response in client.notifications.watch_notifications(request):
            if response.role is WatcherRole.STANDBY:
                raise refused("another watcher of this subscription is active", FAILED)
            for received in response.notifications:
                put(layout.line(received))
            is_the_end = _sequence(response.cursor) >= end
            if request.subscription and (response.notifications or is_the_end):
                client.notifications.commit_cursor(
                    CommitCursorRequest(
                        issuer_id=request.issuer_id,
                        subscription=request.subscription,
                        cursor=response.cursor,
                        fencing_token=response.fencing_token,
                    )
                )
            if is_the_end:
                return


def _end(client: GatewayClient, issuer_id: str) -> str:
    """Return the cursor at the end of the event log."""
    request = WatchNotificationsRequest(issuer_id=issuer_id, position=StartPosition.LATEST)
    return next(iter(client.notifications.watch_notifications(request))).cursor


def _sequence(cursor: str) -> int:
    # A cursor is opaque to callers, but nothing else says whether a batch is past the end.
    return int(cursor.rpartition("-")[2])


def _commit(watch: Watch, received: Notification) -> None:
    try:
        watch.commit(received)
    except (DeadlineExceededError, UnavailableError) as error:
        tell(f"not committed; the next commit will include it: {error}")


def _put_header(layout: Layout) -> None:
    if layout.header is not None:
        put(layout.header)


@contextmanager
def _opened(connection: Connection) -> Iterator[GatewayClient]:
    """Open a client that prints one line for each failure and each reconnect."""
    with logged_to_stderr(), connected(connection) as client:
        try:
            yield client
        except GatewayError as error:
            raise refused(failure(error, client), FAILED) from None
