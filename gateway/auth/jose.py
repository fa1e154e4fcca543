"""JSON and base64url as in JOSE, parsed strictly."""

import base64
import json
from typing import Any

__all__ = ["base64url", "from_base64url", "json_object"]


def base64url(data: bytes) -> str:
    """Encode bytes in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Decode base64url without padding.

    Raises:
        ValueError: The text is not such base64url.
    """
    if "=" in text or "+" in text or "/" in text:
        raise ValueError("not base64url")
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object without duplicate names (RFC 7519 section 4, RFC 7515 section 4).

    Raises:
        ValueError: The data is not such an object.
    """
    try:
        value = json.loads(data, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 (bad data, not a programming error)
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate name")
    return members
