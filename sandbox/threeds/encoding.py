"""JSON messages: as bodies, and as base64url in browsers' forms (RFC 4648, section 5)."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["DuplicateNameError", "decode", "encode", "parse"]

_UNPADDED = re.compile(r"[A-Za-z0-9_-]+")


class DuplicateNameError(ValueError):
    """A JSON object has a duplicate name. Holds the name."""


def parse(data: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        DuplicateNameError: It, or an object in it, has a duplicate name.
        ValueError: It is not a JSON object.
    """
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the message is wrong, not the argument
    try:
        json.loads(data, object_pairs_hook=_reject_duplicates)  # orjson silently takes the last duplicate
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def decode(text: str) -> dict[str, Any]:
    """Decode a JSON object from base64url without padding.

    Raises:
        ValueError: It is not one.
    """
    if not _UNPADDED.fullmatch(text):
        raise ValueError("not base64url without padding")
    return parse(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def encode(message: Mapping[str, Any], *, padded: bool) -> str:
    """Encode a JSON object as base64url.

    Args:
        message: The object.
        padded: Whether to keep the padding. It is never empty: the object is lengthened with white space if needed.
    """
    data = json.dumps(message)
    if len(data) % 3 == 0:
        data += " "
    encoded = base64.urlsafe_b64encode(data.encode()).decode()
    return encoded if padded else encoded.rstrip("=")


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise DuplicateNameError(name)
        names.add(name)
