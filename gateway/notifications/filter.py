"""Filters: which notifications a watcher gets."""

from collections.abc import Callable, Iterable
from functools import lru_cache

from gateway.ports import Event, Scope
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Predicate", "predicate", "scope"]

Predicate = Callable[[Event], bool]

_THREE_DS = notification.NOTIFICATION_KIND_THREE_DS_OPERATION
_CONSUMER = notification.NOTIFICATION_KIND_CONSUMER_OPERATION


def predicate(issuer_id: str, wanted: notification.NotificationFilter) -> Predicate:
    """Return the test for an event: it must match the issuer, and every non-empty list of the filter.

    The lists of types and statuses apply to one kind each, and do not restrict the other. Equal filters share one
    function while it is cached, so that watchers with the same filter can share batches.
    """
    return _predicate(issuer_id, wanted.SerializeToString(deterministic=True))


@lru_cache(maxsize=128)
def _predicate(issuer_id: str, serialized: bytes) -> Predicate:
    wanted = notification.NotificationFilter.FromString(serialized)
    tests: list[Predicate] = []
    if kinds := _kinds(wanted):
        tests.append(lambda event: event.kind in kinds)
    if wanted.card_ids:
        cards = frozenset(wanted.card_ids)
        tests.append(lambda event: event.kind == _THREE_DS and event.subject_id in cards)
    if wanted.consumer_ids:
        consumers = frozenset(wanted.consumer_ids)
        tests.append(lambda event: event.consumer_id in consumers)
    if wanted.operation_ids:
        operations = frozenset(wanted.operation_ids)
        tests.append(lambda event: event.operation_id in operations)
    tests += _of_kind(_THREE_DS, wanted.operation_types, wanted.statuses)
    tests += _of_kind(_CONSUMER, wanted.consumer_operation_types, wanted.consumer_operation_statuses)
    if not tests:
        return lambda event: event.issuer_id == issuer_id
    return lambda event: event.issuer_id == issuer_id and all(test(event) for test in tests)


def scope(issuer_id: str, wanted: notification.NotificationFilter) -> Scope:
    """Return what a log may leave out for a watcher. Everything that passes its `predicate` is in the scope."""
    kinds = {_THREE_DS} if wanted.card_ids else _kinds(wanted)
    if len(kinds) != 1:
        return Scope(issuer_id)
    (kind,) = kinds
    # An operation on a consumer has the consumer as its subject.
    subjects = frozenset(wanted.card_ids if kind == _THREE_DS else wanted.consumer_ids)
    return Scope(issuer_id, kind, next(iter(subjects)) if len(subjects) == 1 else None)


def _kinds(wanted: notification.NotificationFilter) -> frozenset[int]:
    """Return the kinds that the filter allows; empty for all."""
    if wanted.kinds:
        return frozenset(wanted.kinds)
    restricted = {
        _THREE_DS: bool(wanted.operation_types or wanted.statuses),
        _CONSUMER: bool(wanted.consumer_operation_types or wanted.consumer_operation_statuses),
    }
    return frozenset(kind for kind, is_restricted in restricted.items() if is_restricted)


def _of_kind(kind: int, types: Iterable[int], statuses: Iterable[int]) -> list[Predicate]:
    wanted_types, wanted_statuses = frozenset(types), frozenset(statuses)
    tests: list[Predicate] = []
    if wanted_types:
        tests.append(lambda event: event.kind != kind or event.operation_type in wanted_types)
    if wanted_statuses:
        tests.append(lambda event: event.kind != kind or event.status in wanted_statuses)
    return tests
