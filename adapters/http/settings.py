"""What has to be said about any upstream to talk with it over HTTP."""

from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["HttpSettings"]

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where an upstream is and what the calls to it may cost.

    Raises:
        ValueError: A value makes no sense, or the base URL is neither HTTPS nor on loopback.
    """

    base_url: str
    """``https://host`` of one environment of the upstream. Plain HTTP only on loopback."""
    connection_limit: int = 100
    """How many connections may be open at once, and so how many requests be on their way."""
    waiting_limit: int = 1000
    """How many requests may wait for one of them to end; a further one is refused at once."""
    connect_timeout_seconds: float = 5.0
    """How long a new connection takes at most: the name, TCP and TLS."""
    total_timeout_seconds: float = 10.0
    """How long a call takes at most, with all it needs; less if the caller's deadline is nearer."""
    answer_limit_bytes: int = 1024 * 1024
    """The largest body that is read of an answer, after decompression."""
    attempt_limit: int = 3
    """How often a call is made at most, where it is safe to make it again."""
    circuit_failures: int = 10
    """After how many failures in a row the upstream is left alone for a moment."""
    circuit_pause_limit_seconds: float = 2.0
    """How long such a moment lasts at most; the first ones are shorter."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        url = urlsplit(self.base_url)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise ValueError("base_url has to be https, or http on loopback.")
        if not url.hostname or url.query or url.fragment or "@" in url.netloc:
            raise ValueError("base_url has to be a host, perhaps with a port and a path, and nothing else.")
        limits = (
            self.connection_limit,
            self.connect_timeout_seconds,
            self.total_timeout_seconds,
            self.answer_limit_bytes,
            self.attempt_limit,
            self.circuit_failures,
            self.circuit_pause_limit_seconds,
        )
        if min(limits) <= 0 or self.waiting_limit < 0:
            raise ValueError("Limits and timeouts have to be more than 0.")
