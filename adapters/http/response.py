"""An upstream's response, before it is interpreted."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from gateway.json_input import InvalidJsonError, read_object

__all__ = ["UpstreamResponse"]


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
        """Parse the body as a JSON object; None if `gateway.json_input.read_object` refuses it."""
        try:
            return read_object(self.body)
        except InvalidJsonError:
            return None
