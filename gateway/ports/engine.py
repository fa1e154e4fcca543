"""The engines that can keep the event log."""

from enum import StrEnum

__all__ = ["Engine"]


class Engine(StrEnum):
    """Where an event log is."""

    SQLITE = "sqlite"
    """In the file that `event_log.path` names."""
    NATS = "nats"
    """At the servers that `[nats]` names."""
