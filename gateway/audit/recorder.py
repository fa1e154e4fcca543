"""What is recorded of a call: an attempt before anything is sent, its result before the reply, and refusals."""

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from gateway.audit.ids import IdWriter
from gateway.audit.lines import Line, members, now
from gateway.audit.refusals import Refusals
from gateway.audit.rpcs import RecordedRpc
from gateway.audit.trail import Trail
from gateway.errors import GatewayError, shown
from gateway.logging import correlation
from issuer.common.v1 import error_pb2

__all__ = ["Attempt", "Recorder", "current"]

_RETRY_SECONDS: Final = 1.0
_MILLISECONDS: Final = 1e3
_MAX_PEER: Final = 64

current: ContextVar["Attempt | None"] = ContextVar("audit_attempt", default=None)
"""The attempt of the current task; None if its rpc is not recorded."""


@dataclass(slots=True, eq=False)
class Attempt:
    """A change that a caller asked for."""

    rpc: RecordedRpc
    common: bytes
    """What all lines about it have, as members of a JSON object."""
    line: Line
    began: float
    is_sent: bool = False
    """Whether it got past the idempotency store. A change that did not, and has a reply all the same, is a replay."""
    result: Line | None = None


class Recorder:
    """Writes the lines of changes and refusals to a trail."""

    def __init__(self, trail: Trail, ids: IdWriter, *, refuses_changes: bool) -> None:
        """Record.

        Args:
            trail: Where lines are written.
            ids: Writes the ids of cards and consumers.
            refuses_changes: Whether a change is refused while the trail cannot be written.
        """
        self._trail = trail
        self._ids = ids
        self._refuses_changes = refuses_changes
        self._refusals = Refusals(self._omitted)

    def begin(self, method: str, rpc: RecordedRpc, request: Message, caller: str, peer: str) -> Attempt:
        """Submit the line of an attempt; `allow` waits for it.

        Args:
            method: The full name on the wire.
            rpc: What the trail records of it.
            request: The request, validated.
            caller: The caller's identity.
            peer: The caller's address, as grpc names it.

        Raises:
            GatewayError: AUDIT_UNAVAILABLE.
        """
        if self._refuses_changes and self._trail.failure:
            self._trail.counts.refused += 1
            raise _unavailable()
        about = {
            "rpc": method[1:],
            "caller": caller,
            "peer": peer[:_MAX_PEER],
            "issuer_id": getattr(request, "issuer_id", ""),
            **rpc.subjects(request, self._ids),
            "user_id": self._ids.without_card_numbers(getattr(request, "user_id", "")),
            "request_id": getattr(request, "request_id", ""),
            "correlation_id": correlation.current(),
        }
        common = members(about)
        text = b'"time":"%b","kind":"attempt",%b' % (now().encode(), common)
        line = self._trail.write(text, is_kept=not self._refuses_changes)
        attempt = Attempt(rpc, common, line, time.perf_counter())
        current.set(attempt)
        return attempt

    async def allow(self, attempt: Attempt) -> None:
        """Return when the attempt is on disk, so that the change may be made.

        Raises:
            GatewayError: AUDIT_UNAVAILABLE.
        """
        if not await attempt.line.on_disk and self._refuses_changes:
            self._trail.counts.refused += 1
            raise _unavailable()
        attempt.is_sent = True

    def end(self, attempt: Attempt, reply: Message | None, error: BaseException | None) -> Line:
        """Submit the line of a result, once. Await its `on_disk` before the caller gets it.

        Args:
            attempt: The change.
            reply: The reply; None if there is none.
            error: The failure; None if there is none.
        """
        if attempt.result is not None:
            return attempt.result
        facts: dict[str, object] = {
            "time": now(),
            "kind": "result",
            "attempt": attempt.line.sequence or None,
            **_outcome(error),
            "replay": _is_replay(attempt, error),
            "duration_ms": round((time.perf_counter() - attempt.began) * _MILLISECONDS, 1),
        }
        if reply is not None:
            facts |= attempt.rpc.made(reply, self._ids)
        attempt.result = self._trail.write(b"%b,%b" % (members(facts), attempt.common), is_kept=True)
        return attempt.result

    async def refuse(self, method: str, caller: str, peer: str, issuer_id: str, error: GatewayError) -> None:
        """Record a refused call, unless its caller had many lately. Returns when it is on disk.

        Args:
            method: The full name on the wire.
            caller: The caller's identity; empty if it has none.
            peer: The caller's address, as grpc names it.
            issuer_id: The issuer that the request names, if it was read.
            error: The refusal.
        """
        if not self._refusals.is_recorded(caller):
            return
        facts = {
            "time": now(),
            "kind": "refused",
            **_outcome(error),
            "rpc": method[1:],
            "caller": caller,
            "peer": peer[:_MAX_PEER],
            "issuer_id": shown(issuer_id),
            "correlation_id": correlation.current(),
        }
        await self._trail.write(members(facts), is_kept=True).on_disk

    def flush(self) -> None:
        """Submit what has not been told yet, before the trail is closed."""
        self._refusals.flush()

    def _omitted(self, caller: str, count: int) -> None:
        facts = {"time": now(), "kind": "refusals_omitted", "caller": caller, "count": count}
        self._trail.write(members(facts), is_kept=True)


def _outcome(error: BaseException | None) -> dict[str, object]:
    match error:
        case None:
            return {"code": "OK", "reason": "", "outcome": "COMPLETED"}
        case GatewayError():
            return {"code": error.code.name, "reason": error.reason_name, "outcome": error.outcome_name}
        case Exception():
            return {"code": "INTERNAL", "reason": "INTERNAL", "outcome": "UNKNOWN"}
        case _:
            return {"code": "CANCELLED", "reason": "", "outcome": "UNKNOWN"}


def _is_replay(attempt: Attempt, error: BaseException | None) -> bool:
    if isinstance(error, GatewayError):
        return error.detail.idempotent_replay
    return error is None and not attempt.is_sent


def _unavailable() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_AUDIT_UNAVAILABLE,
        "The audit trail cannot be written, and this gateway makes no change without it. Nothing was sent: repeat the "
        "call at another gateway, or when the gateway's operators have seen to it.",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        retry_after_seconds=_RETRY_SECONDS,
    )
