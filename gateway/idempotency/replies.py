"""The idempotency store: repeated calls get the first reply and are not run a second time."""

import hmac
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from secrets import token_bytes
from types import MappingProxyType
from typing import Final

import structlog
from google.protobuf.message import Message

from gateway.errors import FieldViolation, GatewayError, Reason
from gateway.idempotency.cleanup import StaleMarkerCleaner
from gateway.idempotency.encryption import RecordCipher, UnreadableError
from gateway.idempotency.records import (
    ADVICE,
    INSTANCE_BYTES,
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

__all__ = ["TTL_SECONDS", "IdempotencyOutcome", "IdempotencyStore", "Reply"]

TTL_SECONDS: Final = 86_400.0
"""How long a request id is remembered."""

_RETRY_SECONDS: Final = 1.0
_UNCHANGED: Final = frozenset({error_pb2.ERROR_OUTCOME_NOT_SENT, error_pb2.ERROR_OUTCOME_REJECTED})

_log = structlog.get_logger(__name__)


class IdempotencyOutcome(StrEnum):
    """What became of a request with a request id: the word for it in the metrics."""

    FIRST = "first"
    """The call was made, and what a repeat has to know is stored."""
    UNRECORDED = "unrecorded"
    """The call was made, but how it ended could not be stored: a repeat gets outcome UNKNOWN."""
    REPLAYED = "replayed"
    """A repeat got the first reply."""
    UNKNOWN = "unknown"
    """A repeat of a call whose outcome is unknown: nothing was sent again."""
    CONFLICT = "conflict"
    """The request id was used for a different request."""
    IN_FLIGHT = "in_flight"
    """A repeat came while the first call was in flight."""
    STORE_FAILED = "store_failed"
    """The store failed before the call was made: nothing was sent."""


_REFUSED: Final[Mapping[Reason, IdempotencyOutcome]] = MappingProxyType(
    {
        error_pb2.ERROR_REASON_REQUEST_ID_REUSED: IdempotencyOutcome.CONFLICT,
        error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT: IdempotencyOutcome.IN_FLIGHT,
    }
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a call."""

    message: Message
    is_replay: bool
    """Whether an earlier call got it, and nothing was done now."""


class IdempotencyStore:
    """Runs a call once, however often it is repeated under one id.

    A marker is on disk before a call is made, and the result replaces it. A call that changed nothing leaves no record
    and can be made again. One that may have changed something leaves a record that says so.
    """

    def __init__(
        self,
        store: KeyValueStore,
        cipher: RecordCipher,
        *,
        lease_seconds: float,
        is_shared: bool,
        on_outcome: Callable[[IdempotencyOutcome], object] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep records in a store.

        Args:
            store: The store, perhaps shared with other instances of the gateway.
            cipher: Encrypts the records.
            lease_seconds: The longest time that a call takes. If a marker of another instance is older, that instance
                has died.
            is_shared: Whether other instances work with the store at the same time. If not, another one's marker is of
                a call that broke off, but the upstream may be at it until the lease ends.
            on_outcome: Called once for each request, but not for one whose call is cut off.
            clock: Returns the time in seconds since 1970 (UTC).
        """
        self._store = store
        self._cipher = cipher
        self._lease_seconds = lease_seconds
        self._is_shared = is_shared
        self._on_outcome = on_outcome
        self._clock = clock
        self._instance = token_bytes(INSTANCE_BYTES)
        self._running: dict[str, bytes] = {}
        self._stale_markers = StaleMarkerCleaner(store)

    async def reply(
        self, rpc: MutatingRpc, scope: Sequence[str], content: bytes, work: Callable[[], Awaitable[Message]]
    ) -> Reply:
        """Make a call, or return the reply of an earlier one.

        Args:
            rpc: The rpc.
            scope: The caller, the issuer and the request id, within which the id is unique.
            content: The request, as `gateway.idempotency.requests.content` writes it.
            work: Makes the call. If this is cancelled, the outcome of the call is unknown.

        Raises:
            GatewayError: REQUEST_ID_REUSED or REQUEST_IN_FLIGHT; STORE_UNAVAILABLE before the call was made; what the
                call raised; with outcome UNKNOWN, the error of an earlier call that must not be made again.
        """
        name, fingerprint = self._cipher.name([rpc.name, *scope]), self._cipher.fingerprint(content)
        with self._counting_failures():
            self._check_not_running(name, fingerprint)
        self._running[name] = fingerprint
        try:
            with self._counting_failures():
                claimed = await self._claim(name, fingerprint, rpc)
            if isinstance(claimed, Replied):
                self._on_outcome(IdempotencyOutcome.REPLAYED)
                return Reply(rpc.reply.FromString(claimed.reply), is_replay=True)
            return Reply(await self._make(name, fingerprint, claimed, work), is_replay=False)
        finally:
            del self._running[name]

    async def aclose(self) -> None:
        """End background work, within about a second. No call may be running."""
        await self._stale_markers.aclose()

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        """Count a request for which no call is made."""
        try:
            yield
        except GatewayError as error:
            is_undecided = error.outcome == error_pb2.ERROR_OUTCOME_UNKNOWN
            refused = _REFUSED.get(error.reason, IdempotencyOutcome.STORE_FAILED)
            self._on_outcome(IdempotencyOutcome.UNKNOWN if is_undecided else refused)
            raise

    def _check_not_running(self, name: str, fingerprint: bytes) -> None:
        running = self._running.get(name)
        if running is not None:
            _check_same(running, fingerprint)
            raise _in_flight()

    async def _claim(self, name: str, fingerprint: bytes, rpc: MutatingRpc) -> Replied | bytes:
        """Store a marker and return it; or return or raise the result of the earlier call."""
        lease = InFlight(self._instance, self._clock() + self._lease_seconds)
        marker = self._encrypted(name, fingerprint, lease)
        try:
            stored = await self._store.put_if_absent(name, marker, TTL_SECONDS)
            if stored is None:
                return marker
            if stored not in self._stale_markers:
                earlier = self._earlier(name, stored, fingerprint)
                if isinstance(earlier, Replied):
                    return earlier
                if not rpc.repeatable:
                    raise earlier
            # Replaced by a new marker, because a late removal of the old one would remove the claim of this call.
            await self._store.delete(name, stored)
            if await self._store.put_if_absent(name, marker, TTL_SECONDS) is not None:
                raise _in_flight()
        except GatewayError as error:
            if error.reason == error_pb2.ERROR_REASON_STORE_UNAVAILABLE:
                self._stale_markers.add(name, marker)
                raise _not_stored(error) from error
            raise
        return marker

    def _earlier(self, name: str, stored: bytes, fingerprint: bytes) -> Replied | GatewayError:
        """Return the reply to the earlier call, or the error that says that it may have taken effect.

        Raises:
            GatewayError: REQUEST_ID_REUSED or REQUEST_IN_FLIGHT.
        """
        try:
            record = decode(self._cipher.decrypt(name, stored))
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
                # This instance's running calls are in `_running`, so its own marker is of a call that broke off.
                left_seconds = min(lease_end - self._clock(), self._lease_seconds)
                if instance != self._instance and left_seconds > 0:
                    raise self._perhaps_in_flight(left_seconds)
                return _lost()

    def _perhaps_in_flight(self, left_seconds: float) -> GatewayError:
        """Return the error for a repeat of another instance's call, whose lease ends in some time."""
        # What has taken long takes longer; a call that has just begun is mostly over in a second.
        soon = max(_RETRY_SECONDS, self._lease_seconds - left_seconds)
        return GatewayError(
            error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT,
            "The request with this request_id is in flight, unless its gateway has died, which is certain in "
            f"{ceil(left_seconds)} s. Repeat it to get its reply, or to learn that its outcome is unknown.",
            outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
            retry_after_seconds=min(soon, left_seconds) if self._is_shared else left_seconds,
        )

    async def _make(
        self, name: str, fingerprint: bytes, marker: bytes, work: Callable[[], Awaitable[Message]]
    ) -> Message:
        try:
            message = await work()
        except GatewayError as error:
            if error.outcome in _UNCHANGED:
                await self._release(name, marker)
            else:
                await self._record(name, fingerprint, Undecided.of(error))
            raise
        except Exception:
            await self._record(name, fingerprint, Undecided.of(_internal()))
            raise
        await self._record(name, fingerprint, Replied(message.SerializeToString()))
        return message

    async def _record(self, name: str, fingerprint: bytes, state: Replied | Undecided) -> None:
        # This may overwrite a later call's record, if the lease ended and the rpc is repeatable. Either record will do.
        try:
            await self._store.put(name, self._encrypted(name, fingerprint, state), TTL_SECONDS)
        except GatewayError as error:
            # The result is valid all the same; a repeated call gets outcome UNKNOWN.
            _log.warning("reply_not_stored", reason=error.reason_name, message=error.message)
            self._on_outcome(IdempotencyOutcome.UNRECORDED)
        else:
            self._on_outcome(IdempotencyOutcome.FIRST)

    async def _release(self, name: str, marker: bytes) -> None:
        try:
            await self._store.delete(name, marker)
        except GatewayError as error:
            _log.warning("request_id_not_released", reason=error.reason_name, message=error.message)
            self._stale_markers.add(name, marker)
            self._on_outcome(IdempotencyOutcome.UNRECORDED)
        else:
            self._on_outcome(IdempotencyOutcome.FIRST)

    def _encrypted(self, name: str, fingerprint: bytes, state: InFlight | Replied | Undecided) -> bytes:
        return self._cipher.encrypt(name, encode(Record(fingerprint, state)))


def _check_same(first: bytes, second: bytes) -> None:
    if not hmac.compare_digest(first, second):
        raise GatewayError(
            error_pb2.ERROR_REASON_REQUEST_ID_REUSED,
            "This request_id was used for a different request. Nothing was sent.",
            outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
            violations=[FieldViolation("request_id", "must be new for a different request", "request_id.reused")],
        )


def _not_stored(error: GatewayError) -> GatewayError:
    # Whatever outcome the store reports, the call itself was not made.
    return GatewayError(
        error.reason,
        f"{error.message} Nothing was sent.",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        retry_after_seconds=error.retry_after_seconds,
    )


def _in_flight() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT,
        "The request with this request_id is in flight. Repeat it a little later to get its reply.",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        retry_after_seconds=_RETRY_SECONDS,
    )


def _lost() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE,
        f"The gateway lost the first call with this request_id, which may have taken effect. {ADVICE}",
        outcome=error_pb2.ERROR_OUTCOME_UNKNOWN,
        detail=error_pb2.ErrorDetail(idempotent_replay=True),
    )


def _internal() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_INTERNAL,
        "Internal gateway error; report the correlation id to the gateway's operators.",
        outcome=error_pb2.ERROR_OUTCOME_UNKNOWN,
    )
