"""How what gateways say to each other is written: a head, numbers of fixed width, then one text or protobuf message.

The head is ``D1GQ``, the version of all this, the kind of the message and the sender. A gateway reads its own version
alone: during an upgrade from one version to another the gateways of each version work together.
"""

import struct
from collections.abc import Callable, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError

from gateway.callbacks.cluster.messages import (
    Asked,
    Declined,
    HasRoom,
    Message,
    Offer,
    Presence,
    Replied,
    Settled,
    Withdrawn,
)
from gateway.callbacks.model import Topic
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["UnreadableError", "decode", "encode"]

_MARK: Final = b"D1GQ"
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">4sBB8s")
_PRESENCE: Final = struct.Struct(">Q?dHH")
_TOPIC: Final = struct.Struct(">BB")
_OFFER: Final = struct.Struct(">QI??H")
_ASKED: Final = struct.Struct(">Qd")
_HANDLER: Final = struct.Struct(">Q")
_REPLIED: Final = struct.Struct(">QQ")
_SETTLED: Final = struct.Struct(">QB")
_INDEX: Final = struct.Struct(">H")


class UnreadableError(ValueError):
    """A message is not one of ours. The text says why, and nothing of what stands in it."""


def encode(message: Message) -> bytes:
    """Write a message."""
    kind = _KINDS[type(message)]
    return _HEAD.pack(_MARK, _VERSION, kind, bytes.fromhex(message.sender)) + _body(message)


def decode(data: bytes) -> Message:
    """Read a message.

    Raises:
        UnreadableError: It was not written by `encode`.
    """
    try:
        mark, version, kind, sender = _HEAD.unpack_from(data)
    except struct.error:
        raise UnreadableError("too short") from None
    if mark != _MARK:
        raise UnreadableError("not of a gateway")
    if version != _VERSION:
        raise UnreadableError("of another version")
    try:
        return _READERS[kind](sender.hex(), data[_HEAD.size :])
    except (KeyError, IndexError, ValueError, struct.error, DecodeError):
        raise UnreadableError("damaged") from None


def _body(message: Message) -> bytes:
    match message:
        case Presence():
            return _presence(message)
        case Asked():
            return _ASKED.pack(message.handler, message.sent_at) + message.question.SerializeToString()
        case Declined() | Withdrawn():
            return _HANDLER.pack(message.handler) + message.token.encode()
        case HasRoom():
            return _HANDLER.pack(message.handler)
        case Replied():
            return _REPLIED.pack(message.handler, message.number) + message.reply.SerializeToString()
        case Settled():
            return _SETTLED.pack(message.number, message.outcome)


def _presence(message: Presence) -> bytes:
    # Handlers mostly answer the same: what they answer is written once.
    topics = {topic: None for offer in message.offers for topic in sorted(offer.topics)}
    indexes = {topic: index for index, topic in enumerate(topics)}
    parts = [_PRESENCE.pack(message.number, message.wants_answer, message.sent_at, len(topics), len(message.offers))]
    for issuer_id, kind in ((issuer_id.encode(), kind.encode()) for issuer_id, kind in topics):
        parts += [_TOPIC.pack(len(issuer_id), len(kind)), issuer_id, kind]
    for offer in message.offers:
        parts.append(
            _OFFER.pack(offer.number, offer.max_in_flight, offer.is_draining, offer.has_room, len(offer.topics))
        )
        parts += [_INDEX.pack(indexes[topic]) for topic in sorted(offer.topics)]
    return b"".join(parts)


def _read_presence(sender: str, body: bytes) -> Presence:
    number, wants_answer, sent_at, topic_count, offer_count = _PRESENCE.unpack_from(body)
    place = _PRESENCE.size
    topics: list[Topic] = []
    for _ in range(topic_count):
        issuer_end, kind_length = _TOPIC.unpack_from(body, place)
        start = place + _TOPIC.size
        middle, place = start + issuer_end, start + issuer_end + kind_length
        topics.append((body[start:middle].decode(), body[middle:place].decode()))
    offers: list[Offer] = []
    for _ in range(offer_count):
        handler, max_in_flight, is_draining, has_room, count = _OFFER.unpack_from(body, place)
        start, place = place + _OFFER.size, place + _OFFER.size + count * _INDEX.size
        own = frozenset(topics[index] for (index,) in _INDEX.iter_unpack(body[start:place]))
        if len(own) != count:
            raise ValueError("a handler that answers something twice, or the end is missing")
        offers.append(Offer(handler, own, max_in_flight, is_draining, has_room))
    if place != len(body) or not isfinite(sent_at):
        raise ValueError("more than was announced, or no time")
    return Presence(sender, number, tuple(offers), wants_answer, sent_at)


def _read_asked(sender: str, body: bytes) -> Asked:
    handler, sent_at = _ASKED.unpack_from(body)
    question = callback.Question.FromString(body[_ASKED.size :])
    if not question.token or question.WhichOneof("request") is None or not isfinite(sent_at):
        raise ValueError("a question without a token, a request or a time")
    return Asked(sender, handler, question, sent_at)


def _read_declined(sender: str, body: bytes) -> Declined:
    return Declined(sender, *_handler_and_token(body))


def _read_withdrawn(sender: str, body: bytes) -> Withdrawn:
    return Withdrawn(sender, *_handler_and_token(body))


def _read_has_room(sender: str, body: bytes) -> HasRoom:
    (handler,) = _HANDLER.unpack(body)
    return HasRoom(sender, handler)


def _read_replied(sender: str, body: bytes) -> Replied:
    handler, number = _REPLIED.unpack_from(body)
    reply = callback.Reply.FromString(body[_REPLIED.size :])
    if reply.WhichOneof("response") is None:
        raise ValueError("a reply without a response")
    return Replied(sender, handler, number, reply)


def _read_settled(sender: str, body: bytes) -> Settled:
    number, outcome = _SETTLED.unpack(body)
    if outcome not in callback.ReplyOutcome.values():
        raise ValueError("an unknown outcome")
    return Settled(sender, number, outcome)


def _handler_and_token(body: bytes) -> tuple[int, str]:
    (handler,) = _HANDLER.unpack_from(body)
    return handler, body[_HANDLER.size :].decode()


_KINDS: Final[Mapping[type[Message], int]] = MappingProxyType(
    {Presence: 1, Asked: 2, Declined: 3, Withdrawn: 4, HasRoom: 5, Replied: 6, Settled: 7}
)
_READERS: Final[Mapping[int, Callable[[str, bytes], Message]]] = MappingProxyType(
    {
        1: _read_presence,
        2: _read_asked,
        3: _read_declined,
        4: _read_withdrawn,
        5: _read_has_room,
        6: _read_replied,
        7: _read_settled,
    }
)
