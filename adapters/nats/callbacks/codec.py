"""Parses peers' messages; rejects what no gateway can have sent and what this version does not know."""

import re
from math import isfinite
from typing import Final

from google.protobuf.message import DecodeError

from d1gateway.peer.v1 import messages_pb2 as peer
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["UnreadableError", "decode"]

_MAX_BYTES: Final = 8 * 1_048_576
"""The upper limit that NATS recommends."""
_MAX_TIME_LEFT_SECONDS: Final = 86_400
_SENDER: Final = re.compile(r"[0-9a-f]{16}")
"""Strict, because the sender becomes part of a subject."""


class UnreadableError(ValueError):
    """A message is not usable. The text gives the reason, and nothing of the content."""


def decode(data: bytes) -> peer.PeerMessage:
    """Parse and check a message.

    Raises:
        UnreadableError: It is malformed, too large, or of a kind that only newer gateways know.
    """
    if len(data) > _MAX_BYTES:
        raise UnreadableError("too large")
    try:
        message = peer.PeerMessage.FromString(data)
    except DecodeError:
        raise UnreadableError("malformed") from None
    if not _SENDER.fullmatch(message.sender):
        raise UnreadableError("not from a gateway")
    if message.WhichOneof("content") is None:
        raise UnreadableError("unknown kind")
    if not _is_consistent(message):
        raise UnreadableError("inconsistent")
    return message


def _is_consistent(message: peer.PeerMessage) -> bool:
    match message.WhichOneof("content"):
        case "presence":
            presence = message.presence
            count = len(presence.topics)
            known = all(max(session.topic_indexes, default=-1) < count for session in presence.handler_sessions)
            return known and isfinite(presence.sent_at_seconds)
        case "request":
            request = message.request.callback_request
            has_time = 0 <= request.time_left.seconds <= _MAX_TIME_LEFT_SECONDS
            is_whole = bool(request.token) and request.WhichOneof("request") is not None
            return has_time and is_whole and isfinite(message.request.sent_at_seconds)
        case "reply":
            return message.reply.callback_reply.WhichOneof("response") is not None
        case "reply_result":
            return message.reply_result.outcome in callback.ReplyOutcome.values()
        case _:
            return True
