"""Notification filters from the words of the command line."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

import betterproto2

from d1_gateway_client.contracts.issuer.consumer.v1 import ConsumerOperationStatus, ConsumerOperationType
from d1_gateway_client.contracts.issuer.notification.v1 import (
    ConsumerOperationFilter,
    NotificationFilter,
    ThreeDsOperationFilter,
)
from d1_gateway_client.contracts.issuer.threeds.v1 import ThreeDsOperationStatus, ThreeDsOperationType

__all__ = ["Kind", "UnusableWordError", "notification_filter", "time_ago"]


class UnusableWordError(Exception):
    """A word of the command line is unknown, or contradicts the others."""


class Kind(StrEnum):
    """The kind of a notification."""

    THREE_DS = "3ds"
    CONSUMER = "consumer"


_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO: Final = re.compile(r"([0-9]{1,9})([smhd])")

_ThreeDS = TypeVar("_ThreeDS", bound=betterproto2.Enum)
_Consumer = TypeVar("_Consumer", bound=betterproto2.Enum)


def time_ago(ago: str, now: datetime) -> datetime:
    """Return the time this long ago: ``90s``, ``10m``, ``2h``, ``1d``.

    Raises:
        UnusableWordError: It is not a length of time, or too long.
    """
    match = _AGO.fullmatch(ago)
    try:
        if match is not None:
            return now - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        pass
    raise UnusableWordError("--since: expected a length of time such as 90s, 10m, 2h or 1d")


def notification_filter(
    *,
    cards: Iterable[str],
    consumers: Iterable[str],
    kinds: Iterable[Kind],
    types: Iterable[str],
    statuses: Iterable[str],
    operation_ids: Iterable[str],
    recovered: bool | None,
) -> NotificationFilter:
    """Build the filter that passes what matches one value of each option that is given.

    Args:
        cards: Card ids.
        consumers: Consumer ids.
        kinds: Notification kinds.
        types: Operation types, as in ``--json`` without the prefix, or in D1's words.
        statuses: Operation statuses, likewise.
        operation_ids: D1's operation ids.
        recovered: Whether the gateway has fetched them from D1's history; None for both.

    Raises:
        UnusableWordError: A type or status is unknown, or no notification can match all options.
    """
    chosen_types = _members("--type", types, ThreeDsOperationType, ConsumerOperationType)
    chosen_statuses = _members("--status", statuses, ThreeDsOperationStatus, ConsumerOperationStatus)
    left = set(kinds) or set(Kind)
    for chosen in (chosen_types, chosen_statuses):
        if any(chosen):
            left &= {kind for kind, members in zip(Kind, chosen, strict=True) if members}
    if not left:
        raise UnusableWordError("--kind, --type, --status: no notification can match all of these")
    wanted = NotificationFilter(
        card_ids=[*cards], consumer_ids=[*consumers], operation_ids=[*operation_ids], recovered=recovered
    )
    if left == set(Kind) and not any((*chosen_types, *chosen_statuses)):
        return wanted
    if Kind.THREE_DS in left:
        wanted.three_ds_operations = ThreeDsOperationFilter(types=chosen_types[0], statuses=chosen_statuses[0])
    if Kind.CONSUMER in left:
        wanted.consumer_operations = ConsumerOperationFilter(types=chosen_types[1], statuses=chosen_statuses[1])
    return wanted


def _members(
    option: str, words: Iterable[str], three_ds: type[_ThreeDS], consumer: type[_Consumer]
) -> tuple[list[_ThreeDS], list[_Consumer]]:
    """Find what words mean for each kind, in the order of `Kind`."""
    known = dict.fromkeys((*three_ds.__members__, *consumer.__members__))
    names = []
    for word in words:
        name = word.upper().replace("-", "_").removeprefix("3DS_")
        if name not in known:
            raise UnusableWordError(f"{option}: unknown value {word}; expected one of {', '.join(known).lower()}")
        names.append(name)
    return (
        [three_ds[name] for name in names if name in three_ds.__members__],
        [consumer[name] for name in names if name in consumer.__members__],
    )
