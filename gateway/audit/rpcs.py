"""Which rpcs are changes that the trail records, as the contracts declare it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from gateway.audit.ids import IdWriter
from issuer.consumer.v1.authentication_pb2 import AuthenticationResult, AuthenticationStatus

__all__ = ["NOT_RECORDED", "RecordedRpc", "recorded_rpc"]

NOT_RECORDED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "/issuer.notification.v1.NotificationService/WatchNotifications": "traffic: a watcher reads",
        "/issuer.notification.v1.NotificationService/CommitCursor": "traffic: a watcher's progress",
        "/issuer.threeds.v1.AuthenticationService/LookupCard": "a purchase: it changes nothing that an issuer keeps",
        "/issuer.threeds.v1.AuthenticationService/Authenticate": "a purchase: the 3-D Secure server keeps its record",
    }
)
"""The rpcs that the contracts do not call free of side effects, and that are no changes for an auditor."""

_IDS: Final = ("card_id", "new_card_id", "consumer_id", "app_instance_id")
_ID_LISTS: Final = ("card_ids",)
_WORDS: Final = ("reason_code", "subscription")
_OURS: Final = "/issuer."
_RESULT: Final = "result"
_STATUS_PREFIX: Final = "AUTHENTICATION_STATUS_"


@dataclass(frozen=True, slots=True)
class RecordedRpc:
    """An rpc that the trail records."""

    ids: tuple[str, ...]
    """Fields of the request with ids of cards, consumers and app installations."""
    words: tuple[str, ...]
    """Fields with D1's reason codes, and with names that callers give to things of their own."""
    lists: tuple[str, ...]
    """Fields with a list of ids, of which a line has the number: a thousand ids would be a long line."""
    has_result: bool
    """Whether its field ``result`` is that of an authentication."""
    reply_ids: tuple[str, ...]
    """Fields of the reply with ids that the change made."""

    def subjects(self, request: Message, ids: IdWriter) -> dict[str, str | int]:
        """Return what a request is about, by field; an empty field is left out."""
        found: dict[str, str | int] = {
            field: ids.write(field, value) for field in self.ids if (value := getattr(request, field))
        }
        for field in self.words:
            if value := getattr(request, field):
                found[field] = ids.without_card_numbers(value)
        for field in self.lists:
            found[f"{field.removesuffix('_ids')}_count"] = len(getattr(request, field))
        if self.has_result:
            result: AuthenticationResult = getattr(request, _RESULT)
            found["authentication_id"] = ids.without_card_numbers(result.authentication_id)
            found["authentication_status"] = AuthenticationStatus.Name(result.status).removeprefix(_STATUS_PREFIX)
        return found

    def made(self, reply: Message, ids: IdWriter) -> dict[str, str]:
        """Return what a reply says was made, by field."""
        made = {field: getattr(reply, field) for field in self.reply_ids}
        return {f"made_{field}": ids.write(field, value) for field, value in made.items() if value}


@cache
def recorded_rpc(method: str) -> RecordedRpc | None:
    """Return an rpc that the trail records; None for any other.

    A new rpc is recorded unless it is free of side effects, has a request stream, or is in `NOT_RECORDED`.

    Args:
        method: The full name on the wire, for example ``/issuer.card.v1.CardService/CreateCard``.
    """
    try:
        found = descriptor_pool.Default().FindMethodByName(method.removeprefix("/").replace("/", "."))
    except KeyError:
        return None
    is_free = not method.startswith(_OURS) or found.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    if is_free or found.client_streaming or method in NOT_RECORDED:
        return None
    request, reply = found.input_type.fields_by_name, found.output_type.fields_by_name
    return RecordedRpc(
        ids=tuple(field for field in _IDS if field in request),
        words=tuple(field for field in _WORDS if field in request),
        lists=tuple(field for field in _ID_LISTS if field in request),
        has_result=_RESULT in request and request[_RESULT].message_type is AuthenticationResult.DESCRIPTOR,
        reply_ids=tuple(field for field in _IDS if field in reply),
    )
