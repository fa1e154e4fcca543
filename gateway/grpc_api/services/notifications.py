"""NotificationService: watches, named subscriptions and backfills."""

import time
from collections.abc import Mapping
from contextlib import aclosing

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import FieldViolation, GatewayError, shown
from gateway.formats.page_tokens import PageTokens
from gateway.grpc_api.interceptors.chain import Context, Handler
from gateway.grpc_api.interceptors.context import caller_identity
from gateway.grpc_api.services.backfills import OrderedBackfills
from gateway.notifications import cursor
from gateway.notifications.filter import predicate, scope, takes_all
from gateway.notifications.start import Start
from gateway.notifications.watch import Watch, Watchers
from gateway.ports import EventLog, LogBounds, StoredSubscription
from gateway.validation.truncate import invalid_request
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1 import service_pb2, service_pb2_grpc

__all__ = ["NotificationServicer", "add_to_server"]

_DEFAULT_BATCH_SIZE = 100
_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 100, 1000
_DEFAULT_HEARTBEAT_SECONDS = 15.0
_SERVICE = service_pb2.DESCRIPTOR.services_by_name["NotificationService"].full_name


class NotificationServicer(service_pb2_grpc.NotificationServiceServicer):
    """See ``issuer/notification/v1/service.proto`` for the contract of each rpc."""

    def __init__(self, log: EventLog, watchers: Watchers, backfills: OrderedBackfills) -> None:
        self._log = log
        self._watchers = watchers
        self._backfills = backfills

    async def WatchNotifications(  # type: ignore[override] # it writes bytes to the context, see add_to_server
        self, request: notification.WatchNotificationsRequest, context: Context
    ) -> None:
        """Stream notifications, as the bytes that are stored."""
        issuer_id = request.issuer_id
        watch = Watch(
            start=_start(request),
            wants=predicate(issuer_id, request.filter),
            max_batch_size=request.max_batch_size or _DEFAULT_BATCH_SIZE,
            heartbeat_seconds=_heartbeat_seconds(request),
            scope=scope(issuer_id, request.filter),
            whole_issuer=issuer_id if takes_all(request.filter) else None,
        )
        messages = (
            self._watchers.watch_subscription(watch, issuer_id, request.subscription)
            if request.subscription
            else self._watchers.watch(watch)
        )
        async with aclosing(messages):
            async for message in messages:
                await context.write(message)

    async def CommitCursor(
        self, request: notification.CommitCursorRequest, context: Context
    ) -> notification.CommitCursorResponse:
        """Move a subscription's cursor forward."""
        del context
        committed = await self._watchers.subscriptions.commit(
            request.issuer_id, request.subscription, request.cursor, request.fencing_token
        )
        return notification.CommitCursorResponse(committed_cursor=committed)

    async def GetSubscription(
        self, request: notification.GetSubscriptionRequest, context: Context
    ) -> notification.GetSubscriptionResponse:
        """Return the state of a subscription."""
        del context
        issuer_id = request.issuer_id
        bounds = await self._log.bounds()
        stored = await self._log.get_subscription(issuer_id, request.subscription)
        if stored is None:
            raise _not_found(issuer_id, request.subscription)
        watchers = self._watchers.counts(issuer_id)
        return notification.GetSubscriptionResponse(subscription=self._describe(stored, bounds, watchers))

    async def ListSubscriptions(
        self, request: notification.ListSubscriptionsRequest, context: Context
    ) -> notification.ListSubscriptionsResponse:
        """List a page of an issuer's subscriptions."""
        del context
        issuer_id, size = request.issuer_id, min(request.page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
        tokens = PageTokens("ListSubscriptions", (caller_identity(), issuer_id))
        after = tokens.decode(request.page_token).decode(errors="replace") if request.page_token else ""
        bounds = await self._log.bounds()
        # One more, to know whether another page follows.
        stored = await self._log.list_subscriptions(issuer_id, after=after, limit=size + 1)
        watchers = self._watchers.counts(issuer_id)
        page = [self._describe(each, bounds, watchers) for each in stored[:size]]
        return notification.ListSubscriptionsResponse(
            subscriptions=page,
            next_page_token=tokens.encode(page[-1].name.encode()) if len(stored) > size else "",
        )

    async def ResetSubscription(
        self, request: notification.ResetSubscriptionRequest, context: Context
    ) -> notification.ResetSubscriptionResponse:
        """Move a subscription's cursor anywhere."""
        del context
        committed = await self._watchers.subscriptions.reset(
            request.issuer_id, request.subscription, _place(request), request.fencing_token
        )
        return notification.ResetSubscriptionResponse(committed_cursor=committed)

    async def DeleteSubscription(
        self, request: notification.DeleteSubscriptionRequest, context: Context
    ) -> notification.DeleteSubscriptionResponse:
        """Delete a subscription that has no watcher."""
        del context
        issuer_id = request.issuer_id
        if request.subscription in self._watchers.counts(issuer_id):
            raise GatewayError(
                error_pb2.ERROR_REASON_SUBSCRIPTION_IN_USE,
                f"The subscription {shown(request.subscription)} has a watcher: stop the watcher first.",
            )
        if not await self._log.delete_subscription(issuer_id, request.subscription):
            raise _not_found(issuer_id, request.subscription)
        return notification.DeleteSubscriptionResponse()

    async def BackfillNotifications(  # type: ignore[override] # it writes to the context, as a watch does
        self, request: notification.BackfillNotificationsRequest, context: Context
    ) -> None:
        """Fetch what the event log lacks of cards' operations."""
        since_ms = _milliseconds(request.since_time)
        if since_ms > time.time() * 1000:
            raise invalid_request([FieldViolation("since_time", "must not be in the future", "timestamp.lt_now")])
        messages = self._backfills.run(request.issuer_id, request.card_ids, since_ms)
        async with aclosing(messages):
            async for message in messages:
                await context.write(message)

    def _describe(
        self, stored: StoredSubscription, bounds: LogBounds, watchers: Mapping[str, int]
    ) -> notification.Subscription:
        described = notification.Subscription(
            issuer_id=stored.issuer_id,
            name=stored.name,
            committed_cursor=cursor.encode(self._log.log_id, stored.committed),
            lag=max(0, bounds.lag(stored.committed)),
            watcher_count=watchers.get(stored.name, 0),
        )
        described.commit_time.FromMilliseconds(stored.commit_time_ms)
        return described


def add_to_server(servicer: NotificationServicer, server: grpc.aio.Server) -> None:
    """Register the service, with a watch that sends bytes unchanged."""
    service_pb2_grpc.add_NotificationServiceServicer_to_server(servicer, server)
    watch: Handler = grpc.unary_stream_rpc_method_handler(
        servicer.WatchNotifications,
        request_deserializer=notification.WatchNotificationsRequest.FromString,
        # The stored bytes are the message.
        response_serializer=None,
    )
    server.add_registered_method_handlers(_SERVICE, {"WatchNotifications": watch})


def _start(request: notification.WatchNotificationsRequest) -> Start:
    return _place(request) if request.WhichOneof("start") else Start()


def _place(request: notification.WatchNotificationsRequest | notification.ResetSubscriptionRequest) -> Start:
    """Return the place that a request names: its two kinds name it by the same fields."""
    if request.HasField("after_cursor"):
        return Start(after_cursor=request.after_cursor)
    if request.HasField("since_time"):
        return Start(since_ms=_milliseconds(request.since_time))
    return _end(request.position)


def _end(position: "notification.StartPosition.ValueType") -> Start:
    earliest = position == notification.START_POSITION_EARLIEST
    return Start(earliest=earliest, latest=not earliest)


def _milliseconds(since_time: Timestamp) -> int:
    try:
        return since_time.ToMilliseconds()
    except ValueError:
        must = "must be a time in the years 1 to 9999"
        raise invalid_request([FieldViolation("since_time", must, "timestamp.valid")]) from None


def _heartbeat_seconds(request: notification.WatchNotificationsRequest) -> float:
    if not request.HasField("heartbeat_interval"):
        return _DEFAULT_HEARTBEAT_SECONDS
    return request.heartbeat_interval.ToTimedelta().total_seconds()


def _not_found(issuer_id: str, name: str) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_SUBSCRIPTION_NOT_FOUND,
        f"Issuer {issuer_id} has no subscription {shown(name)}: its first watch, CommitCursor or ResetSubscription "
        "creates it, and ListSubscriptions names those that exist.",
    )
