"""What has to be said about the 3-D Secure server to talk with it."""

import re
from dataclasses import dataclass

from adapters.http.settings import HttpSettings

__all__ = ["Secret", "ThreeDSSettings"]

_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,256}")


class Secret:
    """A text that prints as ``***``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeDSSettings(HttpSettings):
    """Where the 3-D Secure server is, who we are there, and what the calls to it may cost.

    Raises:
        ValueError: A value makes no sense, or the base URL is neither HTTPS nor on loopback.
    """

    api_key: Secret
    """Goes with every call, in the header ``APIKey``."""
    total_timeout_seconds: float = 11.0
    """How long a call takes at most. The server itself gives up after 10 s, and says so."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        HttpSettings.__post_init__(self)
        if not _HEADER_VALUE.fullmatch(self.api_key.reveal()):
            raise ValueError("api_key has to be printable ASCII without spaces, 1 to 256 characters.")
