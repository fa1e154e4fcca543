"""An upstream's response, before it is interpreted."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from gateway.formats.json_input import InvalidJsonError, read_object

__all__ = ["UpstreamResponse"]

_SUCCESS: Final = range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A complete HTTP response."""

    status: int
    retry_after: str = ""
    """The header Retry-After as received; empty if absent."""
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""
    """The header Content-Type as received; empty if absent."""
    _json: dict[str, Any] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_json", _json_object(self.body))

    @property
    def succeeded(self) -> bool:
        """Whether the status is any 2xx: upstreams change from one to another."""
        return self.status in _SUCCESS

    @property
    def is_foreign(self) -> bool:
        """Whether there is a body but no JSON object: upstreams send nothing else, proxies and firewalls send pages."""
        return self._json is None and bool(self.body.strip())

    def json_object(self) -> dict[str, Any] | None:
        """Return the body as a JSON object; None if `gateway.formats.json_input.read_object` refuses it."""
        return self._json


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        return read_object(body) if body else None
    except InvalidJsonError:
        return None
