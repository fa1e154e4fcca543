"""What has to be said about D1 to talk with it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["D1Settings"]

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_LONGEST_ASSERTION_SECONDS = 900


@dataclass(frozen=True, slots=True)
class D1Settings:
    """Where D1 is and what the calls to it may cost.

    Raises:
        ValueError: A value makes no sense, or the base URL is neither HTTPS nor on loopback.
    """

    base_url: str
    """``https://host`` of one D1 environment: production or pre-production. Plain HTTP only on loopback."""
    connection_limit: int = 100
    """How many connections may be open at once."""
    connect_timeout_seconds: float = 5.0
    """How long a call waits for a connection: for a free one, or for the name, TCP and TLS of a new one."""
    total_timeout_seconds: float = 10.0
    """How long a call takes at most, with all it needs; less if the caller's deadline is nearer."""
    answer_limit_bytes: int = 1024 * 1024
    """The largest body that is read of an answer, after decompression."""
    assertion_audience: str | None = None
    """The ``aud`` of the assertions, which D1 does not ask for; None leaves it out."""
    assertion_life_seconds: int = 300
    """For how long an assertion is good. D1 takes at most 900."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        url = urlsplit(self.base_url)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise ValueError("base_url has to be https, or http on loopback.")
        if not url.hostname or url.query or url.fragment or "@" in url.netloc:
            raise ValueError("base_url has to be a host, perhaps with a port and a path, and nothing else.")
        if not 1 <= self.assertion_life_seconds <= _LONGEST_ASSERTION_SECONDS:
            raise ValueError(f"assertion_life_seconds has to be 1 to {_LONGEST_ASSERTION_SECONDS}.")
        limits = (
            self.connection_limit,
            self.connect_timeout_seconds,
            self.total_timeout_seconds,
            self.answer_limit_bytes,
        )
        if min(limits) <= 0:
            raise ValueError("Limits and timeouts have to be more than 0.")
