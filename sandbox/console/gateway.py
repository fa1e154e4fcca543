"""Follows a gateway for the console: its notifications, subscriptions, log, and whether it is there."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.common.gateway_log import earlier_log
from sandbox.console.feed import Feed
from sandbox.console.handlers import HandlerSessions

__all__ = ["CHANNEL_OPTIONS", "Gateway", "GatewayFollower"]

CHANNEL_OPTIONS: Final = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
"""The console's channel takes little ahead of what it reads: while it pauses, the gateway gathers notifications into a
batch instead of sending each, which would cost both processes half as much again as a notification does by itself."""

_PAUSE_SECONDS: Final = 0.2
_BETWEEN_SECONDS: Final = 0.06
"""The pause after a batch of notifications."""
_BUSY_SECONDS: Final = 0.25
"""The pause after a batch of more than `_BUSY`: nobody reads that fast."""
_BUSY: Final = 20
_MOST_IN_BATCH: Final = 1000
_POLL_SECONDS: Final = 0.25
_SUBSCRIPTIONS_SECONDS: Final = 5.0
_CALL_SECONDS: Final = 2.0
_OWN_CALLS: Final = "sandbox-console"
"""The correlation id of calls that nobody asked for; their lines in the log are not shown."""
_MOST_LOG_BYTES: Final = 256 * 1024
"""How much of the log is read at once; of what is longer, the end."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway that the console shows."""

    channel: grpc.aio.Channel
    """With a caller's credentials, as the console is a client like others, and with `CHANNEL_OPTIONS`."""
    log: Path
    """The log, one JSON object per line."""
    addresses: Mapping[str, str]
    """Its addresses by name, to show."""


class GatewayFollower:
    """Follows while `follow` runs; continues where it was when that runs again."""

    def __init__(self, feed: Feed, gateway: Gateway, clock: Callable[[], float]) -> None:
        """Follow nothing yet.

        Args:
            feed: Takes the items.
            gateway: What to follow.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._feed = feed
        self._gateway = gateway
        self._clock = clock
        self._notifications = NotificationServiceStub(gateway.channel)
        self._since = Timestamp(seconds=int(clock()))
        self._cursor = ""
        self._handlers = HandlerSessions(feed)
        self._lines = 0
        self._inode = 0
        """The log's file, read so far to `_read_to`."""
        self._read_to = 0

    async def follow(self) -> None:
        """Follow the gateway until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for work in (self._follow_state, self._follow_notifications, self._follow_subscriptions, self._follow_log):
                tasks.create_task(work())

    async def _follow_state(self) -> None:
        channel = self._gateway.channel
        while True:
            state = channel.get_state(try_to_connect=True)
            is_up = state is grpc.ChannelConnectivity.READY
            self._feed.put("gateway", "gateway", partial(dict, up=is_up, addresses=dict(self._gateway.addresses)))
            await channel.wait_for_state_change(state)

    async def _follow_notifications(self) -> None:
        while True:
            watch = self._notifications.WatchNotifications(self._request(), wait_for_ready=True)
            try:
                async for batch in watch:
                    seen = self._clock()
                    for each in batch.notifications:
                        self._feed.put("notifications", each.cursor, partial(_shown, each, seen))
                    self._cursor = batch.cursor or self._cursor
                    await asyncio.sleep(_BUSY_SECONDS if len(batch.notifications) > _BUSY else _BETWEEN_SECONDS)
            except grpc.aio.AioRpcError as error:
                # It is down, or ends; but another event log does not know the cursor.
                if error.code() in {grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT}:
                    self._cursor = ""
            finally:
                watch.cancel()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _request(self) -> notification.WatchNotificationsRequest:
        request = notification.WatchNotificationsRequest(max_batch_size=_MOST_IN_BATCH)
        if self._cursor:
            request.after_cursor = self._cursor
        else:
            request.since_time.CopyFrom(self._since)
        return request

    async def _follow_subscriptions(self) -> None:
        shown = None
        while True:
            with suppress(grpc.aio.AioRpcError):
                found = await self._notifications.ListSubscriptions(
                    notification.ListSubscriptionsRequest(page_size=20),
                    timeout=_CALL_SECONDS,
                    metadata=[("x-correlation-id", _OWN_CALLS)],
                )
                now = {"subscriptions": [_as_json(each) for each in found.subscriptions]}
                if now != shown:
                    shown = now
                    self._feed.put("subscriptions", "subscriptions", partial(dict, now))
            await asyncio.sleep(_SUBSCRIPTIONS_SECONDS)

    async def _follow_log(self) -> None:
        while True:
            with suppress(OSError):
                self._read_log()
            await asyncio.sleep(_POLL_SECONDS)

    def _read_log(self) -> None:
        log = self._gateway.log
        inode = log.stat().st_ino
        if self._inode not in {0, inode}:
            with suppress(OSError):
                self._read_on(earlier_log(log))
            self._read_to = 0
        self._inode = inode
        self._read_on(log)

    def _read_on(self, log: Path) -> None:
        with log.open("rb") as file:
            end = file.seek(0, 2)
            # A shorter log is a new one.
            begin = max(self._read_to if self._read_to <= end else 0, end - _MOST_LOG_BYTES)
            file.seek(begin)
            whole, _, _ = file.read(end - begin).rpartition(b"\n")
        self._read_to = begin + len(whole)
        self._handlers.note(whole.splitlines())
        for line in whole.splitlines():
            with suppress(orjson.JSONDecodeError):
                logged = orjson.loads(line)
                if isinstance(logged, dict) and logged.get("correlation_id") != _OWN_CALLS:
                    self._lines += 1
                    self._feed.put("log", str(self._lines), partial(dict, logged))


def _shown(each: notification.Notification, seen: float) -> Mapping[str, Any]:
    event = each.WhichOneof("event")
    operation = {} if event is None else _as_json(getattr(each, event))
    return {
        "cursor": each.cursor,
        "cardId": each.card_id,
        "consumerId": each.consumer_id,
        "correlationId": each.correlation_id,
        "received": each.receive_time.ToMicroseconds() / 1e6,
        "seen": seen,
        "operation": operation,
    }


def _as_json(message: Any) -> dict[str, Any]:
    shown: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return shown
