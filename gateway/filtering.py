"""Which notifications a watcher wants."""

from collections.abc import Callable

from gateway.ports import Event
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Predicate", "predicate"]

Predicate = Callable[[Event], bool]


def predicate(issuer_id: str, wanted: notification.NotificationFilter) -> Predicate:
    """Make the test that an event must pass: its issuer, and every list of the filter that is not empty."""
    tests: list[Predicate] = []
    if wanted.card_ids:
        cards = frozenset(wanted.card_ids)
        tests.append(lambda event: event.card_id in cards)
    if wanted.consumer_ids:
        consumers = frozenset(wanted.consumer_ids)
        tests.append(lambda event: event.consumer_id in consumers)
    if wanted.operation_types:
        types = frozenset(wanted.operation_types)
        tests.append(lambda event: event.operation_type in types)
    if wanted.statuses:
        statuses = frozenset(wanted.statuses)
        tests.append(lambda event: event.status in statuses)
    if wanted.operation_ids:
        operations = frozenset(wanted.operation_ids)
        tests.append(lambda event: event.operation_id in operations)
    if not tests:
        return lambda event: event.issuer_id == issuer_id
    return lambda event: event.issuer_id == issuer_id and all(test(event) for test in tests)
