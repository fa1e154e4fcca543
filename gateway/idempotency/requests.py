"""Which rpcs have idempotent requests, and when two of those are the same."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

__all__ = ["MutatingRpc", "content", "mutating_rpc"]

_REPEATABLE: Final = frozenset(
    {
        "issuer.card.v1.CardService.RegisterCard",
        "issuer.consumer.v1.ConsumerService.CompleteAuthentication",
        "issuer.consumer.v1.ConsumerService.RegisterConsumer",
    }
)
"""Made again, they leave everything as it is: see their comments in the contract."""


@dataclass(frozen=True, slots=True)
class MutatingRpc:
    """An rpc whose requests have a ``request_id``."""

    name: str
    """The full name, for example ``issuer.card.v1.CardService.CreateCard``."""
    reply: type[Message]
    repeatable: bool
    """Whether it may be made again where it is not known if it has taken effect."""


@cache
def mutating_rpc(method: str) -> MutatingRpc | None:
    """Find an rpc among those that change something; None if it is none of them.

    Args:
        method: The full name as gRPC has it, for example ``/issuer.card.v1.CardService/CreateCard``.
    """
    name = method.removeprefix("/").replace("/", ".")
    try:
        found = descriptor_pool.Default().FindMethodByName(name)
    except KeyError:
        return None
    if "request_id" not in found.input_type.fields_by_name:
        return None
    return MutatingRpc(name, message_factory.GetMessageClass(found.output_type), name in _REPEATABLE)


def content(request: Any) -> bytes:
    """Write what has to be the same in two requests for them to be the same request.

    Fields that this version does not know are left out: it does not act on them, and their order is not fixed.

    Args:
        request: One that has a ``request_id``, its ``issuer_id`` resolved.
    """
    copy = type(request)()
    copy.CopyFrom(request)
    copy.DiscardUnknownFields()
    copy.request_id = ""
    written: bytes = copy.SerializeToString(deterministic=True)
    return written
