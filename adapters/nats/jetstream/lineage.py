"""Which log a stream holds, and which ones it held before something of it was lost.

It stands in the metadata of the stream, so it changes for all gateways at once.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = ["Lineage"]

_LOG_ID: Final = "d1-gateway.log-id"
_FORMER: Final = "d1-gateway.former-log-id."
"""Followed by an earlier identity; the value is the last sequence that it has in common with the present one."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The identity of a log, and what it has in common with those that it had."""

    log_id: str
    """The present identity: 8 lower-case hexadecimal digits; empty if the stream has lost it."""
    former: Mapping[str, int]
    """Of each earlier identity, up to which sequence its log and the present one are the same."""

    @classmethod
    def new(cls) -> Self:
        """Begin a log."""
        return cls(_new_id(), {})

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read it from a stream's configuration."""
        metadata: Mapping[str, str] = config.get("metadata", {})
        former = {key.removeprefix(_FORMER): int(value) for key, value in metadata.items() if key.startswith(_FORMER)}
        return cls(metadata.get(_LOG_ID, ""), former)

    def metadata(self) -> dict[str, str]:
        """Write it as it stands in the stream's metadata."""
        return {_LOG_ID: self.log_id} | {f"{_FORMER}{log_id}": str(end) for log_id, end in self.former.items()}

    def renewed(self, common: int) -> Self:
        """Go on under a new identity, after a sequence up to which all is as it was."""
        former = {log_id: min(end, common) for log_id, end in self.former.items()}
        return type(self)(_new_id(), former | {self.log_id: common})

    def succeeds(self, other: Self) -> bool:
        """Tell whether another one was an earlier one of this log."""
        return other.log_id in self.former

    def place(self, log_id: str, sequence: int) -> int:
        """Tell where a place of a log is in this one: not behind anything that this log alone has.

        A log that has nothing to do with this one leads to its beginning.
        """
        return sequence if log_id == self.log_id else min(sequence, self.former.get(log_id, 0))


def _new_id() -> str:
    return secrets.token_hex(4)
