"""What has to be said about NATS to keep things there."""

import ssl
from dataclasses import dataclass
from pathlib import Path

__all__ = ["NatsSettings"]


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """Where the servers are, how we are known there, and how what we keep there is named and kept.

    Raises:
        ValueError: A value makes no sense.
    """

    servers: tuple[str, ...]
    """``tls://host:port`` or ``nats://host:port``, one or more. What they tell of others is used too."""
    prefix: str = "d1-gateway"
    """What the names of streams, buckets and subjects begin with."""
    replicas: int = 1
    """How many servers keep each thing."""
    tls: ssl.SSLContext | None = None
    """For ``tls://``: whom we trust, and our certificate."""
    credentials_file: Path | None = None
    """The credentials of a NATS user (``.creds``); read again at each connection."""
    request_timeout_seconds: float = 2.0
    """How long a server may take for what it is asked."""
    max_age_seconds: float | None = None
    """How long an event is kept; None for ever."""
    max_bytes: int | None = None
    """How much space the events may take; None for any amount."""
    largest_event_bytes: int = 1_048_576
    """How large an event can be; the servers have to take messages of that size."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.servers:
            raise ValueError("Name at least one server.")
        positive = (self.replicas, self.request_timeout_seconds, self.max_age_seconds, self.max_bytes)
        if any(value is not None and value <= 0 for value in positive):
            raise ValueError("Replicas, times and sizes are more than 0.")
