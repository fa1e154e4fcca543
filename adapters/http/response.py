"""An upstream's response, before it is interpreted."""

from collections.abc import Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

__all__ = ["UpstreamResponse"]

_MAX_JSON_DEPTH = 16
"""More than any response needs, and less than a protobuf Struct can carry."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A complete HTTP response."""

    status: int
    retry_after: str = ""
    """The header Retry-After as received; empty if absent."""
    body: bytes = field(default=b"", repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether the status is any 2xx: upstreams change from one to another."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def json_object(self) -> dict[str, Any] | None:
        """Parse the body as a JSON object; None if it is none or nests too deep."""
        try:
            value: Any = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) and _within(value, _MAX_JSON_DEPTH) else None


def _within(value: Any, levels: int) -> bool:
    children: Collection[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    return not children or (levels > 0 and all(_within(child, levels - 1) for child in children))
