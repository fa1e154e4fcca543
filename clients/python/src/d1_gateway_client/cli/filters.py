"""Which notifications to watch, from the words of the command line."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from issuer.consumer.v1 import operation_pb2 as consumer
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds

__all__ = ["Kind", "UnusableWordError", "time_ago", "wanted"]


class UnusableWordError(Exception):
    """A word of the command line means nothing, or nothing together with the others."""


class Kind(StrEnum):
    """What a notification is about."""

    THREE_DS = "3ds"
    CONSUMER = "consumer"


_Words: TypeAlias = Mapping[str, Mapping[Kind, str]]
"""The names of the values that a word stands for, for each kind that has one."""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO: Final = re.compile(r"([0-9]{1,9})([smhd])")
_PREFIX: Final = re.compile(r"^(?:CONSUMER_)?OPERATION_(?:TYPE|STATUS)_")
_KINDS: Final = {
    Kind.THREE_DS: notification.NOTIFICATION_KIND_THREE_DS_OPERATION,
    Kind.CONSUMER: notification.NOTIFICATION_KIND_CONSUMER_OPERATION,
}


def _words(values: Mapping[Kind, Iterable[str]]) -> _Words:
    """Take what all names of an enum begin with away from them."""
    words: dict[str, dict[Kind, str]] = {}
    for kind, names in values.items():
        for name in names:
            words.setdefault(_PREFIX.sub("", name), {})[kind] = name
    return words


_TYPES: Final = _words(
    {Kind.THREE_DS: threeds.OperationType.keys(), Kind.CONSUMER: consumer.ConsumerOperationType.keys()}
)
_STATUSES: Final = _words(
    {Kind.THREE_DS: threeds.OperationStatus.keys(), Kind.CONSUMER: consumer.ConsumerOperationStatus.keys()}
)


def time_ago(ago: str, now: datetime) -> datetime:
    """Say when it was so long ago: ``90s``, ``10m``, ``2h``, ``1d``.

    Raises:
        UnusableWordError: That is no length of time, or too long.
    """
    match = _AGO.fullmatch(ago)
    try:
        if match is not None:
            return now - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        pass
    raise UnusableWordError("--since: say how long ago: 90s, 10m, 2h or 1d")


def wanted(
    *,
    cards: Iterable[str],
    consumers: Iterable[str],
    kinds: Iterable[Kind],
    types: Iterable[str],
    statuses: Iterable[str],
    operation_ids: Iterable[str],
) -> notification.NotificationFilter:
    """Make the filter that lets through what has one of each.

    Args:
        cards: Ids of cards.
        consumers: Ids of consumers.
        kinds: What about.
        types: What happened, as in ``--json`` without the prefix, or as D1 says it.
        statuses: How it ended, likewise.
        operation_ids: D1's ids of operations.

    Raises:
        UnusableWordError: A type or status is not known, or no notification can have all that is asked for.
    """
    chosen_types = _meanings("--type", types, _TYPES)
    chosen_statuses = _meanings("--status", statuses, _STATUSES)
    left = set(kinds) or set(Kind)
    for chosen in (chosen_types, chosen_statuses):
        if any(chosen.values()):
            left &= {kind for kind, values in chosen.items() if values}
    if not left:
        raise UnusableWordError("--kind, --type, --status: no notification can have all of these")
    made = notification.NotificationFilter(card_ids=cards, consumer_ids=consumers, operation_ids=operation_ids)
    made.kinds.extend(_KINDS[kind] for kind in sorted(left) if left != set(Kind))
    made.operation_types.extend(map(threeds.OperationType.Value, chosen_types[Kind.THREE_DS]))
    made.statuses.extend(map(threeds.OperationStatus.Value, chosen_statuses[Kind.THREE_DS]))
    made.consumer_operation_types.extend(map(consumer.ConsumerOperationType.Value, chosen_types[Kind.CONSUMER]))
    made.consumer_operation_statuses.extend(map(consumer.ConsumerOperationStatus.Value, chosen_statuses[Kind.CONSUMER]))
    return made


def _meanings(option: str, words: Iterable[str], known: _Words) -> dict[Kind, list[str]]:
    meanings: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for word in words:
        name = word.upper().replace("-", "_").removeprefix("3DS_")
        if name not in known:
            raise UnusableWordError(f"{option}: there is no {word}; there are {', '.join(known).lower()}")
        for kind, meaning in known[name].items():
            meanings[kind].append(meaning)
    return meanings
