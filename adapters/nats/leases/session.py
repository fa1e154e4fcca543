"""The session by which the other gateways know that this one lives.

A session is an entry that its gateway renews; that of a gateway which is gone is ended by another one (`other_sessions`
says when). Every change of the entry names the one before it, so of a renewal and an end that meet, one fails: a
gateway whose renewal was stored was not taken for dead by then.

What is granted to a session may be used until `VALID_SECONDS` after its last renewal was *sent*, by its gateway's
clock. Nobody ends it before `SILENT_SECONDS` after that renewal was *heard of*, by another gateway's clock. So no two
clocks are compared; they only have to run at about the same pace.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from adapters.nats.connection.errors import NatsError
from adapters.nats.jetstream.bucket import Bucket

__all__ = ["END", "END_TTL_SECONDS", "SILENT_SECONDS", "VALID_SECONDS", "Life", "OwnSession", "session_key"]

SILENT_SECONDS: Final = 3.0
"""After how much silence a session may be ended."""
VALID_SECONDS: Final = 2.5
"""For how long a renewal counts. What is sent in that time has the rest to get out of the process."""
END: Final = b""
"""What stands in the place of a session that was ended, for good."""
END_TTL_SECONDS: Final = 3600.0
_RENEW_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 0.25
_ANSWER_SECONDS: Final = 1.0

# Goes on while the process is stopped or the machine sleeps. The event loop's own would not do: what it shows is from
# when the loop came round last.
_boot_clock: Final = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def session_key(session_id: str) -> str:
    """Return the key of a session's entry."""
    return f"session.{session_id}"


@dataclass(slots=True, eq=False)
class Life:
    """A session of ours, from its first renewal to its end."""

    clock: Callable[[], float]
    session_id: str = field(default_factory=lambda: secrets.token_hex(8))
    revision: int = 0
    """Of the last renewal that is known to be stored; 0 before the first one."""
    valid_until: float = 0.0

    def is_valid(self) -> bool:
        """Tell whether what is granted to it may be used now."""
        return self.clock() < self.valid_until


class OwnSession:
    """Renews this process's session, and begins a new one when it was ended by another gateway."""

    def __init__(
        self,
        bucket: Bucket,
        value: Callable[[], bytes],
        on_begin: Callable[[], None],
        on_loss: Callable[[], None],
        clock: Callable[[], float] = _boot_clock,
    ) -> None:
        """Have no session yet; `run` begins one.

        Args:
            bucket: Where sessions are.
            value: Makes what a renewal says: never the same twice, never nothing.
            on_begin: Told when the session has become valid.
            on_loss: Told when what was granted to it may not be used any more.
            clock: Tells seconds.
        """
        self.life = Life(clock)
        """The present one, or the one that is to begin."""
        self._bucket = bucket
        self._value = value
        self._on_begin = on_begin
        self._on_loss = on_loss
        self._is_granted = False
        self._soon = asyncio.Event()

    def renew_soon(self) -> None:
        """Renew it now: what it says has changed."""
        self._soon.set()

    async def run(self) -> None:
        """Keep a session, as far as NATS lets us."""
        while True:
            self._soon.clear()
            seconds = _RENEW_SECONDS if await self.renew() else _AGAIN_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._soon.wait()

    async def end(self) -> None:
        """Tell the others that this gateway is gone. Not to be called while `run` runs."""
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                # No renewal is on its way any more, but the answer to the last one may have been missed.
                await self._bucket.put(session_key(self.life.session_id), END, ttl_seconds=END_TTL_SECONDS)

    async def renew(self) -> bool:
        """Renew it once, or begin it. Tell whether that was stored."""
        life, sent = self.life, self.life.clock()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                revision = await self._bucket.put(session_key(life.session_id), self._value(), expected=life.revision)
                if revision is None:
                    await self._look(life)
        except (NatsError, TimeoutError):
            revision = None
        # Also when it is stored: what ran out before was not to be used meanwhile, and stays so.
        if not life.is_valid():
            self._lose()
        if revision is None:
            return False
        life.revision, life.valid_until = revision, sent + VALID_SECONDS
        if not self._is_granted and life.is_valid():
            self._is_granted = True
            self._on_begin()
        return True

    async def _look(self, life: Life) -> None:
        """Find out why a renewal was refused."""
        found = await self._bucket.get(session_key(life.session_id))
        if found is not None and found.value != END:
            # An earlier one was stored whose answer did not come.
            life.revision = found.revision
            self._soon.set()
            return
        self._lose()
        self.life = Life(life.clock)
        self._soon.set()

    def _lose(self) -> None:
        if self._is_granted:
            self._is_granted = False
            self._on_loss()
