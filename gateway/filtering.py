"""Which notifications a watcher wants."""

from collections.abc import Callable, Iterable

from gateway.ports import Event
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Predicate", "predicate"]

Predicate = Callable[[Event], bool]

_THREE_DS = notification.NOTIFICATION_KIND_THREE_DS_OPERATION
_CONSUMER = notification.NOTIFICATION_KIND_CONSUMER_OPERATION


def predicate(issuer_id: str, wanted: notification.NotificationFilter) -> Predicate:
    """Make the test that an event must pass: its issuer, and every list of the filter that is not empty.

    The lists of types and statuses are of one kind each, and say nothing of the other.
    """
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


def _kinds(wanted: notification.NotificationFilter) -> frozenset[int]:
    """Return the kinds to which it restricts; empty for no restriction."""
    if wanted.kinds:
        return frozenset(wanted.kinds)
    spoken_of = {
        _THREE_DS: bool(wanted.operation_types or wanted.statuses),
        _CONSUMER: bool(wanted.consumer_operation_types or wanted.consumer_operation_statuses),
    }
    return frozenset(kind for kind, is_spoken_of in spoken_of.items() if is_spoken_of)


def _of_kind(kind: int, types: Iterable[int], statuses: Iterable[int]) -> list[Predicate]:
    wanted_types, wanted_statuses = frozenset(types), frozenset(statuses)
    tests: list[Predicate] = []
    if wanted_types:
        tests.append(lambda event: event.kind != kind or event.operation_type in wanted_types)
    if wanted_statuses:
        tests.append(lambda event: event.kind != kind or event.status in wanted_statuses)
    return tests
