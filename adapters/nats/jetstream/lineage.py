"""The present identity of an event log, and its earlier ones from before a loss of events.

It is part of the stream's metadata, so it changes for all gateways at once.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = ["Lineage"]

_LOG_ID: Final = "d1-gateway.log-id"
_FORMER: Final = "d1-gateway.former-log-id."
"""Followed by an earlier identity. The value is the last sequence that it shares with the present one."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The identities of an event log."""

    log_id: str
    """The present identity: 8 lower-case hexadecimal digits; empty if the stream has lost it."""
    former: Mapping[str, int]
    """For each earlier identity, the last sequence that it shares with the present one."""

    @classmethod
    def new(cls) -> Self:
        """Create the lineage of a new log."""
        return cls(_new_id(), {})

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read the lineage from a stream's configuration."""
        metadata: Mapping[str, str] = config.get("metadata", {})
        former = {key.removeprefix(_FORMER): int(value) for key, value in metadata.items() if key.startswith(_FORMER)}
        return cls(metadata.get(_LOG_ID, ""), former)

    def metadata(self) -> dict[str, str]:
        """Return the lineage as metadata of a stream."""
        return {_LOG_ID: self.log_id} | {f"{_FORMER}{log_id}": str(end) for log_id, end in self.former.items()}

    def renewed(self, common: int) -> Self:
        """Return the lineage with a new identity that shares everything up to a sequence."""
        former = {log_id: min(end, common) for log_id, end in self.former.items()}
        return type(self)(_new_id(), former | {self.log_id: common})

    def succeeds(self, other: Self) -> bool:
        """Return whether another lineage is an earlier one of this log."""
        return other.log_id in self.former

    def translate(self, log_id: str, sequence: int) -> int:
        """Translate a sequence of a log to this one: at most the last one that both share, 0 for an unrelated log."""
        return sequence if log_id == self.log_id else min(sequence, self.former.get(log_id, 0))


def _new_id() -> str:
    return secrets.token_hex(4)
