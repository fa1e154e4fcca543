"""Which rpcs are idempotent by request id, as the contracts declare it, and when two requests are the same."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

__all__ = ["MutatingRpc", "content", "mutating_rpc"]


@dataclass(frozen=True, slots=True)
class MutatingRpc:
    """An rpc whose requests have a ``request_id``."""

    name: str
    """The full name, for example ``issuer.card.v1.CardService.CreateCard``."""
    reply: type[Message]
    repeatable: bool
    """Whether a call may be made again while its outcome is unknown: the contract's ``idempotency_level``."""


@cache
def mutating_rpc(method: str) -> MutatingRpc | None:
    """Return an rpc that changes something; None for any other.

    Args:
        method: The full name on the wire, for example ``/issuer.card.v1.CardService/CreateCard``.
    """
    name = method.removeprefix("/").replace("/", ".")
    try:
        found = descriptor_pool.Default().FindMethodByName(name)
    except KeyError:
        return None
    if "request_id" not in found.input_type.fields_by_name:
        return None
    level = found.GetOptions().idempotency_level
    repeatable = level != MethodOptions.IDEMPOTENCY_UNKNOWN
    return MutatingRpc(name, message_factory.GetMessageClass(found.output_type), repeatable)


def content(request: Any) -> bytes:
    """Return the bytes that two requests share if they are the same.

    Unknown fields are left out: this version does not act on them, and their order is not fixed.

    Args:
        request: A request with a ``request_id`` and a resolved ``issuer_id``.
    """
    copy = type(request)()
    copy.CopyFrom(request)
    copy.DiscardUnknownFields()
    copy.request_id = ""
    serialized: bytes = copy.SerializeToString(deterministic=True)
    return serialized
