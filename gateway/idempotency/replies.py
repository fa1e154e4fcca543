"""The first reply to each request id: found again by a repeated call, which then is not made a second time."""

import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import Final

import structlog
from google.protobuf.message import Message

from gateway.errors import FieldViolation, GatewayError
from gateway.idempotency.cleanup import StaleMarkerCleaner
from gateway.idempotency.encryption import RecordCipher, UnreadableError
from gateway.idempotency.records import (
    ADVICE,
    INSTANCE_BYTES,
    REPLAY,
    InFlight,
    Record,
    Replied,
    Undecided,
    decode,
    encode,
)
from gateway.idempotency.requests import MutatingRpc
from gateway.ports import KeyValueStore
from issuer.common.v1 import error_pb2

__all__ = ["TTL_SECONDS", "IdempotencyStore", "Reply"]

TTL_SECONDS: Final = 86_400.0
"""For how long a request id is remembered."""

_RETRY_SECONDS: Final = 1.0
_UNCHANGED: Final = frozenset({error_pb2.OUTCOME_NOT_SENT, error_pb2.OUTCOME_REJECTED})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call is answered."""

    message: Message
    is_replay: bool
    """Whether an earlier call got it first, and nothing was done now."""


class IdempotencyStore:
    """Sees to it that a call is made once, however often it is asked for under one id.

    Before a call is made, a marker stands on disk; what became of the call takes its place. A call that changed nothing
    leaves nothing behind, so that it can be made again. One that may have changed something is remembered as such.
    """

    def __init__(
        self,
        store: KeyValueStore,
        sealing: RecordCipher,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep replies in a store.

        Args:
            store: Where they are kept, perhaps with other instances of the gateway.
            sealing: Hides them there.
            lease_seconds: How long a call takes at most. A marker of another instance that is older is taken for one
                of an instance that died.
            clock: Returns the time in seconds since 1970 (UTC).
        """
        self._store = store
        self._sealing = sealing
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._instance = token_bytes(INSTANCE_BYTES)
        self._running: dict[str, bytes] = {}
        self._void = StaleMarkerCleaner(store)

    async def reply(
        self, rpc: MutatingRpc, scope: Sequence[str], content: bytes, work: Callable[[], Awaitable[Message]]
    ) -> Reply:
        """Make a call, or find what became of it when it was made.

        Args:
            rpc: What is called.
            scope: By whom, for which issuer and under which id: what has to be the same for two ids to be the same.
            content: The request, as `gateway.idempotency.requests.content` writes it.
            work: Makes the call. If this is cancelled, it counts as one whose outcome is not known.

        Raises:
            GatewayError: REQUEST_ID_REUSED or REQUEST_IN_FLIGHT; STORE_UNAVAILABLE before the call was made; what the
                call raised; with outcome UNKNOWN, what an earlier call raised that must not be made again.
        """
        name, fingerprint = self._sealing.name([rpc.name, *scope]), self._sealing.fingerprint(content)
        running = self._running.get(name)
        if running is not None:
            _check_same(running, fingerprint)
            raise _in_flight()
        self._running[name] = fingerprint
        try:
            claimed = await self._claim(name, fingerprint, rpc)
            if isinstance(claimed, Replied):
                return Reply(rpc.reply.FromString(claimed.reply), is_replay=True)
            return Reply(await self._make(name, fingerprint, claimed, work), is_replay=False)
        finally:
            del self._running[name]

    async def aclose(self) -> None:
        """End what is done in the background, which takes about a second at most. No call may run any more."""
        await self._void.aclose()

    async def _claim(self, name: str, fingerprint: bytes, rpc: MutatingRpc) -> Replied | bytes:
        """Put a marker and return it, unless the call was made before: return its reply, or raise what became of it."""
        lease = InFlight(self._instance, self._clock() + self._lease_seconds)
        marker = self._sealed(name, fingerprint, lease)
        try:
            standing = await self._store.put_if_absent(name, marker, TTL_SECONDS)
            if standing is None:
                return marker
            if standing not in self._void:
                known = self._known(name, standing, fingerprint)
                if isinstance(known, Replied):
                    return known
                if not rpc.repeatable:
                    raise known
            # It is not taken over as it stands: a removal of it that is late would remove the marker of this call.
            await self._store.delete(name, standing)
            if await self._store.put_if_absent(name, marker, TTL_SECONDS) is not None:
                raise _in_flight()
        except GatewayError as error:
            if error.reason == error_pb2.ERROR_REASON_STORE_UNAVAILABLE:
                self._void.add(name, marker)
                raise _not_stored(error) from error
            raise
        return marker

    def _known(self, name: str, standing: bytes, fingerprint: bytes) -> Replied | GatewayError:
        """Return the reply to the earlier call; or the error that it may have taken effect.

        Raises:
            GatewayError: REQUEST_ID_REUSED or REQUEST_IN_FLIGHT.
        """
        try:
            record = decode(self._sealing.open(name, standing))
        except UnreadableError:
            _log.exception("idempotency_record_not_decoded")
            return _lost()
        _check_same(record.fingerprint, fingerprint)
        match record.state:
            case Replied() as replied:
                return replied
            case Undecided() as undecided:
                return undecided.error
            case InFlight(instance, lease_end):
                # What this instance works on is in `_running`, so its own marker is of a call that did not end well.
                if instance != self._instance and self._clock() < lease_end:
                    raise _in_flight()
                return _lost()

    async def _make(
        self, name: str, fingerprint: bytes, marker: bytes, work: Callable[[], Awaitable[Message]]
    ) -> Message:
        try:
            message = await work()
        except GatewayError as error:
            if error.outcome in _UNCHANGED:
                await self._forget(name, marker)
            else:
                await self._keep(name, fingerprint, Undecided.of(error))
            raise
        except Exception:
            await self._keep(name, fingerprint, Undecided.of(_broke()))
            raise
        await self._keep(name, fingerprint, Replied(message.SerializeToString()))
        return message

    async def _keep(self, name: str, fingerprint: bytes, state: Replied | Undecided) -> None:
        # Another one's record stands there only if this call outlived its lease and may be repeated: either will do.
        try:
            await self._store.put(name, self._sealed(name, fingerprint, state), TTL_SECONDS)
        except GatewayError as error:
            # What became of the call is true all the same; a repeated one is told that it is not known.
            _log.warning("reply_not_stored", reason=error.reason_name, message=error.message)

    async def _forget(self, name: str, marker: bytes) -> None:
        try:
            await self._store.delete(name, marker)
        except GatewayError as error:
            _log.warning("request_id_not_released", reason=error.reason_name, message=error.message)
            self._void.add(name, marker)

    def _sealed(self, name: str, fingerprint: bytes, state: InFlight | Replied | Undecided) -> bytes:
        return self._sealing.seal(name, encode(Record(fingerprint, state)))


def _check_same(first: bytes, second: bytes) -> None:
    if not hmac.compare_digest(first, second):
        raise GatewayError(
            error_pb2.ERROR_REASON_REQUEST_ID_REUSED,
            "A different request was made under this request_id before. Nothing was sent.",
            outcome=error_pb2.OUTCOME_NOT_SENT,
            violations=[FieldViolation("request_id", "must be new for a different request", "request_id.reused")],
        )


def _not_stored(error: GatewayError) -> GatewayError:
    # Whatever the store says of itself: the call was not made.
    return GatewayError(
        error.reason,
        f"{error.message} Nothing was sent.",
        outcome=error_pb2.OUTCOME_NOT_SENT,
        retry_after_seconds=error.retry_after_seconds,
    )


def _in_flight() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT,
        "The request of this request_id is being worked on: repeat it a little later to get its reply.",
        outcome=error_pb2.OUTCOME_NOT_SENT,
        retry_after_seconds=_RETRY_SECONDS,
    )


def _lost() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER,
        f"The gateway lost the first call under this request_id, which may have taken effect. {ADVICE}",
        outcome=error_pb2.OUTCOME_UNKNOWN,
        metadata={REPLAY: "true"},
    )


def _broke() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_INTERNAL,
        "A fault in the gateway: report the correlation id to its operators.",
        outcome=error_pb2.OUTCOME_UNKNOWN,
    )
