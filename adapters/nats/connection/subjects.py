"""The names of what we keep and say, and how any text becomes a token of a subject."""

import base64
import hashlib
import re
from typing import Final

from gateway.ports import Event, Scope

__all__ = ["Names", "token"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST: Final = 200
"""A subject has some tokens, and the server takes one of 4096 bytes with what stands beside it."""


def token(text: str) -> str:
    """Write a text as one token: different texts are different tokens, in letters that NATS leaves alone."""
    if _PLAIN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    encoded = "=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return encoded if len(encoded) <= _LONGEST else "#" + hashlib.sha256(raw).hexdigest()


class Names:
    """The names of one gateway, and of those that it works with: all begin with the same prefix."""

    def __init__(self, prefix: str) -> None:
        """Make the names.

        Args:
            prefix: A token.
        """
        self.prefix = prefix
        self.event_stream = f"{prefix}-events"
        """The stream of the event log."""
        self.events = f"{prefix}.event"
        """What the subjects of events begin with."""
        self.growth = f"{prefix}.growth"
        """Where is told of each event that was stored."""
        self.entry_bucket = f"{prefix}-entries"
        self.subscription_bucket = f"{prefix}-subscriptions"
        self.lease_bucket = f"{prefix}-leases"

    def event(self, event: Event) -> str:
        """Return an event's subject: that of what it is a duplicate of, too, and of nothing else."""
        kept = (event.issuer_id, str(event.kind), event.subject_id, event.operation_id)
        return f"{self.events}.{token(kept[0])}.{kept[1]}.{token(kept[2])}.{token(kept[3])}"

    def scope(self, scope: Scope) -> str:
        """Return the pattern that the subjects of a scope match, and no others."""
        kind = "*" if scope.kind is None else str(scope.kind)
        subject = "*" if scope.subject_id is None else token(scope.subject_id)
        return f"{self.events}.{token(scope.issuer_id)}.{kind}.{subject}.*"
