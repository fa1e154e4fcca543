"""``d1-gateway watch``: notifications in a terminal."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import typer

from gateway.cli.connection import Address, CaFile, CertificateFile, Connection, KeyFile, ServerName, TokenFile
from gateway.cli.selecting import Kind, UnusableWordError, time_ago, wanted
from gateway.cli.showing import as_json, as_table
from gateway.cli.telling import INTERRUPTED, needing_the_client, refused
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["watch"]

_SELECTION = "Which (each option again for another value; all options have to agree)"
_BEGINNING = "Where to begin (with what comes from now on, if not given)"

Cards: TypeAlias = Annotated[list[str] | None, typer.Option(help="A card's id.", rich_help_panel=_SELECTION)]
Consumers: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="A consumer's id: theirs, and their cards'.", rich_help_panel=_SELECTION)
]
Kinds: TypeAlias = Annotated[list[Kind] | None, typer.Option(help="What about.", rich_help_panel=_SELECTION)]
Types: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--type", help="What happened: frictionless, enroll-authn ...", rich_help_panel=_SELECTION),
]
Statuses: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="How it ended: successful, failed, pending.", rich_help_panel=_SELECTION)
]
OperationIds: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="D1's id of an operation.", rich_help_panel=_SELECTION)
]
Since: TypeAlias = Annotated[
    str | None, typer.Option(metavar="AGO", help="So long ago: 90s, 10m, 2h, 1d.", rich_help_panel=_BEGINNING)
]
FromStart: TypeAlias = Annotated[
    bool, typer.Option("--from-start", help="With the oldest that is kept.", rich_help_panel=_BEGINNING)
]
After: TypeAlias = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="After this one.", rich_help_panel=_BEGINNING)
]
SubscriptionName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Where its last watch ended; what was printed is committed. Stands by while another one watches.",
        rich_help_panel=_BEGINNING,
    ),
]
Follow: TypeAlias = Annotated[
    bool, typer.Option("--follow/--no-follow", help="Go on with new ones, or end where the log ends now.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object a line, as the contracts have it.")]
Issuer: TypeAlias = Annotated[str | None, typer.Option(help="The issuer, where the gateway has several.")]


def watch(
    *,
    card: Cards = None,
    consumer: Consumers = None,
    kind: Kinds = None,
    type_: Types = None,
    status: Statuses = None,
    operation_id: OperationIds = None,
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
    """Print notifications, oldest first, a line each.

    A broken link is made again, and nothing is printed twice; with --no-follow it is a failure.

    Exit status:

    - 0: the end; Ctrl-C while it follows; nobody reads the output any more

    - 1: the gateway refuses, or cannot be reached

    - 2: the command line cannot be used

    - 130: Ctrl-C before the end
    """
    with needing_the_client():
        from gateway.cli import tailing  # noqa: PLC0415 (the client need not be there for other commands)
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    selection = _Selection(card, consumer, kind, type_, status, operation_id)
    layout = as_json() if json else as_table()
    try:
        request = notification.WatchNotificationsRequest(
            issuer_id=issuer or "", subscription=subscription or "", filter=selection.to_filter()
        )
        _begin(request, since, after, from_start=from_start, follow=follow)
        tail = tailing.follow if follow else tailing.read_to_the_end
        tail(connection, request, layout)
    except UnusableWordError as error:
        raise refused(str(error)) from None
    except UnicodeEncodeError:
        raise refused("the command line is no UTF-8 text") from None
    except KeyboardInterrupt:
        raise typer.Exit(0 if follow else INTERRUPTED) from None


@dataclass(frozen=True, slots=True)
class _Selection:
    """What the command line says of which notifications; None where it says nothing."""

    cards: list[str] | None
    consumers: list[str] | None
    kinds: list[Kind] | None
    types: list[str] | None
    statuses: list[str] | None
    operation_ids: list[str] | None

    def to_filter(self) -> notification.NotificationFilter:
        return wanted(
            cards=self.cards or (),
            consumers=self.consumers or (),
            kinds=self.kinds or (),
            types=self.types or (),
            statuses=self.statuses or (),
            operation_ids=self.operation_ids or (),
        )


def _begin(
    request: notification.WatchNotificationsRequest,
    since: str | None,
    after: str | None,
    *,
    from_start: bool,
    follow: bool,
) -> None:
    if (since is not None) + (after is not None) + from_start > 1:
        raise UnusableWordError("--since, --from-start, --after: say one of them")
    if since is not None:
        request.since.FromDatetime(time_ago(since, datetime.now(UTC)))
    elif after is not None:
        request.after_cursor = after
    elif from_start:
        request.position = notification.START_POSITION_EARLIEST
    elif not (follow or request.subscription):
        raise UnusableWordError("--no-follow: say where to begin: --from-start, --since, --after or --subscription")
