"""Watches for the terminal: without an end, or to the present end of the log. Needs d1-gateway-client."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from d1_gateway_client import GatewayClient, GatewayError, Watch
from d1_gateway_client.contracts.issuer.notification.v1 import (
    CommitCursorRequest,
    StartPosition,
    WatcherRole,
    WatchNotificationsRequest,
)
from d1_gateway_client.contracts.issuer.notification.v1 import Notification as Received
from d1_gateway_client.errors import DeadlineExceededError, UnavailableError
from gateway.cli.connection import Connection
from gateway.cli.opening import as_the_client_has_it, failure, opened
from gateway.cli.showing import Layout
from gateway.cli.telling import FAILED, put, refused, tell
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["follow", "read_to_the_end"]

_HEARTBEAT = timedelta(seconds=0.2)
"""How long it takes at most to see the end where the filter lets nothing through."""


def follow(connection: Connection, request: notification.WatchNotificationsRequest, layout: Layout) -> None:
    """Print notifications until something stops it.

    Raises:
        typer.Exit: The gateway cannot be reached at the start, or refuses; or nobody reads the output any more.
    """
    with _opened(connection) as client:
        wanted: WatchNotificationsRequest = as_the_client_has_it(request)
        # Asked for first: an address that is wrong is told, where a watch would try for ever.
        end = _end(client, wanted.issuer_id)
        if request.WhichOneof("start") is None:
            wanted.after_cursor = end
        watch = client.notifications.watch(
            subscription=wanted.subscription,
            issuer_id=wanted.issuer_id,
            after_cursor=wanted.after_cursor,
            position=wanted.position,
            since=wanted.since,
            filter=wanted.filter,
        )
        _put_header(layout)
        with watch:
            for received in watch:
                put(layout.line(_ours(received)))
                if wanted.subscription:
                    _commit(watch, received)


def read_to_the_end(connection: Connection, request: notification.WatchNotificationsRequest, layout: Layout) -> None:
    """Print notifications to where the log ends now.

    Raises:
        typer.Exit: As `follow`; or another watcher of the subscription is active.
    """
    with _opened(connection) as client:
        wanted: WatchNotificationsRequest = as_the_client_has_it(request)
        wanted.heartbeat_interval = _HEARTBEAT
        end = _sequence(_end(client, wanted.issuer_id))
        _put_header(layout)
        for response in client.notifications.watch_notifications(wanted):
            if response.role is WatcherRole.STANDBY:
                raise refused("another watcher of this subscription is active", FAILED)
            for received in response.notifications:
                put(layout.line(_ours(received)))
            is_the_end = _sequence(response.cursor) >= end
            if wanted.subscription and (response.notifications or is_the_end):
                client.notifications.commit_cursor(
                    CommitCursorRequest(
                        issuer_id=wanted.issuer_id, subscription=wanted.subscription, cursor=response.cursor
                    )
                )
            if is_the_end:
                return


def _end(client: GatewayClient, issuer_id: str) -> str:
    """Ask where the log ends; no answer is a failure, as no watch is to begin then."""
    request = WatchNotificationsRequest(issuer_id=issuer_id, position=StartPosition.LATEST)
    return next(iter(client.notifications.watch_notifications(request))).cursor


def _sequence(cursor: str) -> int:
    # For callers a cursor is opaque; but this command and the gateway that makes it are one package.
    return int(cursor.rpartition("-")[2])


def _commit(watch: Watch, received: Received) -> None:
    try:
        watch.commit(received)
    except (DeadlineExceededError, UnavailableError) as error:
        tell(f"not committed, the next one will commit it too: {error}")


def _ours(received: Received) -> notification.Notification:
    return notification.Notification.FromString(bytes(received))


def _put_header(layout: Layout) -> None:
    if layout.header is not None:
        put(layout.header)


@contextmanager
def _opened(connection: Connection) -> Iterator[GatewayClient]:
    """Have a client that says in one line why it fails, and why it comes back."""
    told = _Told()
    log = logging.getLogger("d1_gateway_client")
    log.addHandler(told)
    try:
        with opened(connection) as client:
            try:
                yield client
            except GatewayError as error:
                raise refused(failure(error, client), FAILED) from None
    finally:
        log.removeHandler(told)


class _Told(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())
