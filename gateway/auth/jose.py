"""JSON and base64url as JOSE writes them, read without tolerance."""

import base64
import json
from typing import Any

__all__ = ["base64url", "from_base64url", "json_object"]


def base64url(data: bytes) -> str:
    """Write bytes in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Read base64url without padding.

    Raises:
        ValueError: It is no such text.
    """
    if "=" in text or "+" in text or "/" in text:
        raise ValueError("it is not base64url")
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def json_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object in which no name stands twice (RFC 7519 section 4, RFC 7515 section 4).

    Raises:
        ValueError: It is none.
    """
    try:
        value = json.loads(data, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 (bad data, no mistake of the program)
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members
