"""What an upstream answered, before anyone has made sense of it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

__all__ = ["UpstreamResponse"]

_DEEPEST_JSON = 16
"""How deep an answer may be nested: more than any has reason for, and less than a protobuf Struct can carry."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """An HTTP answer, read to its end."""

    status: int
    retry_after: str = ""
    """The header of that name, as it came; empty if there was none."""
    body: bytes = field(default=b"", repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of success. Upstreams move between them, so any of them will do."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def json_object(self) -> dict[str, Any] | None:
        """Read the body as a JSON object; None if it is nothing of that kind."""
        try:
            value: Any = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) and _within(value, _DEEPEST_JSON) else None


def _within(value: Any, levels: int) -> bool:
    children: Collection[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    return not children or (levels > 0 and all(_within(child, levels - 1) for child in children))
