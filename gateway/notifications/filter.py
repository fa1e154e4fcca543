"""Filters: which notifications a watcher gets."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias

from gateway.ports import Event, EventKind, Scope
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Predicate", "predicate", "scope", "takes_all"]

Predicate = Callable[[Event], bool]

_OperationFilter: TypeAlias = notification.ThreeDSOperationFilter | notification.ConsumerOperationFilter


def predicate(issuer_id: str, wanted: notification.NotificationFilter) -> Predicate:
    """Return the test for an event: it must match the issuer, and every part of the filter that is set.

    Equal filters share one function while it is cached, so that watchers with the same filter can share batches.
    """
    return _predicate(issuer_id, wanted.SerializeToString(deterministic=True))


@lru_cache(maxsize=128)
def _predicate(issuer_id: str, serialized: bytes) -> Predicate:
    wanted = notification.NotificationFilter.FromString(serialized)
    tests: list[Predicate] = []
    if wanted.card_ids:
        cards = frozenset(wanted.card_ids)
        tests.append(lambda event: event.kind == EventKind.THREE_DS_OPERATION and event.subject_id in cards)
    if wanted.consumer_ids:
        consumers = frozenset(wanted.consumer_ids)
        tests.append(lambda event: event.consumer_id in consumers)
    if wanted.operation_ids:
        operations = frozenset(wanted.operation_ids)
        tests.append(lambda event: event.operation_id in operations)
    if kinds := _kinds(wanted):
        of_kind = {kind: _of_kind(operations) for kind, operations in kinds.items()}
        tests.append(lambda event: event.kind in of_kind and of_kind[event.kind](event))
    if wanted.HasField("recovered"):
        # The last test: it parses the payload, which takes a microsecond, of what has passed the others.
        tests.append(_is_recovered if wanted.recovered else lambda event: not _is_recovered(event))
    if not tests:
        return lambda event: event.issuer_id == issuer_id
    return lambda event: event.issuer_id == issuer_id and all(test(event) for test in tests)


def scope(issuer_id: str, wanted: notification.NotificationFilter) -> Scope:
    """Return what a log may leave out for a watcher. Everything that passes its `predicate` is in the scope."""
    kinds = {EventKind.THREE_DS_OPERATION} if wanted.card_ids else set(_kinds(wanted))
    if len(kinds) != 1:
        return Scope(issuer_id)
    (kind,) = kinds
    # A consumer operation has the consumer as its subject.
    subjects = frozenset(wanted.card_ids if kind == EventKind.THREE_DS_OPERATION else wanted.consumer_ids)
    return Scope(issuer_id, kind, next(iter(subjects)) if len(subjects) == 1 else None)


def takes_all(wanted: notification.NotificationFilter) -> bool:
    """Return whether all of the issuer's events pass the `predicate`."""
    return not wanted.ByteSize()


def _is_recovered(event: Event) -> bool:
    return notification.Notification.FromString(event.payload).recovered


def _kinds(wanted: notification.NotificationFilter) -> Mapping[int, _OperationFilter]:
    """Return the kinds that the filter names, with what it selects of each; empty for all kinds."""
    kinds: dict[int, _OperationFilter] = {}
    if wanted.HasField("three_ds_operations"):
        kinds[EventKind.THREE_DS_OPERATION] = wanted.three_ds_operations
    if wanted.HasField("consumer_operations"):
        kinds[EventKind.CONSUMER_OPERATION] = wanted.consumer_operations
    return kinds


def _of_kind(wanted: _OperationFilter) -> Predicate:
    types, statuses = frozenset[int](wanted.types), frozenset[int](wanted.statuses)
    return lambda event: (not types or event.operation_type in types) and (not statuses or event.status in statuses)
