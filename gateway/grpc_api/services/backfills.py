"""Backfills that callers order: cards in their order, and what became of each."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from gateway.aio.windows import in_order
from gateway.backfill.backfill import Backfill, CardResult
from gateway.backfill.budget import Pause
from gateway.errors import ErrorOutcome, GatewayError
from gateway.logging import correlation
from issuer.common.v1 import error_pb2
from issuer.notification.v1.messages_pb2 import (
    BackfillNotificationsResponse,
    BackfillPause,
    CardBackfill,
    CardBackfillError,
)

__all__ = ["OrderedBackfills"]


class OrderedBackfills:
    """Serves every ordered backfill of a process."""

    def __init__(self, backfill: Backfill) -> None:
        self._backfill = backfill
        self._outboxes: set[_Outbox] = set()
        self._is_draining = False

    def drain(self) -> None:
        """End every backfill, present and future, with SERVER_DRAINING."""
        self._is_draining = True
        for outbox in self._outboxes:
            outbox.close()

    async def run(
        self, issuer_id: str, card_ids: Sequence[str], since_ms: int
    ) -> AsyncGenerator[BackfillNotificationsResponse, None]:
        """Yield a message for each card when it is done, and for each pause when it begins.

        Args:
            issuer_id: The cards' issuer.
            card_ids: The cards.
            since_ms: The time of the oldest operations to fetch, in milliseconds since 1970 (UTC).

        Raises:
            GatewayError: SERVER_DRAINING.
        """
        if self._is_draining:
            raise _draining(error_pb2.ERROR_OUTCOME_NOT_SENT)
        outbox = _Outbox()
        work = asyncio.create_task(self._work(issuer_id, card_ids, since_ms, outbox))
        work.add_done_callback(lambda _: outbox.close())
        self._outboxes.add(outbox)
        try:
            while (message := await outbox.next()) is not None:
                yield message
            if not work.done():
                raise _draining(error_pb2.ERROR_OUTCOME_UNKNOWN)
            work.result()
        finally:
            self._outboxes.discard(outbox)
            work.cancel()
            # The event log must not be closed before.
            await asyncio.wait((work,))

    async def _work(self, issuer_id: str, card_ids: Sequence[str], since_ms: int, outbox: "_Outbox") -> None:
        def tell(pause: Pause) -> None:
            outbox.put(BackfillNotificationsResponse(pause=_pause(pause)))

        async def read(card_id: str) -> CardResult:
            # Another backfill of the issuer may have caused one.
            if (pause := budget.current_pause) is not None:
                tell(pause)
            return await self._backfill.card(issuer_id, card_id, since_ms, tell)

        budget = self._backfill.budget(issuer_id)
        async with aclosing(in_order(card_ids, read, budget.max_in_flight)) as results:
            async for card_id, result in results:
                outbox.put(BackfillNotificationsResponse(card=_card(card_id, result)))


class _Outbox:
    """The messages for a caller. It grows no longer than its cards need, even if the caller does not read."""

    def __init__(self) -> None:
        self._messages: deque[BackfillNotificationsResponse] = deque()
        self._is_closed = False
        self._changed = asyncio.Event()

    def put(self, message: BackfillNotificationsResponse) -> None:
        """Queue a message. A pause replaces one that has not been read, since only the latest is of use."""
        if self._messages and message.HasField("pause") and self._messages[-1].HasField("pause"):
            self._messages.pop()
        self._messages.append(message)
        self._changed.set()

    def close(self) -> None:
        """End it after what is queued."""
        self._is_closed = True
        self._changed.set()

    async def next(self) -> BackfillNotificationsResponse | None:
        """Return the next message as soon as there is one; None at the end."""
        while not self._messages:
            if self._is_closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()


def _card(card_id: str, result: CardResult) -> CardBackfill:
    message = CardBackfill(
        card_id=card_id,
        operation_count=result.operation_count,
        recovered_count=result.recovered_count,
        differing_count=result.differing_count,
        unusable_count=result.unusable_count,
    )
    if result.error is not None:
        message.error.CopyFrom(CardBackfillError(detail=result.error.detail, message=result.error.message))
        message.error.detail.correlation_id = correlation.current()
    return message


def _pause(pause: Pause) -> BackfillPause:
    message = BackfillPause(reason=pause.reason)
    message.resume_time.FromMilliseconds(round((time.time() + pause.seconds) * 1000))
    return message


def _draining(outcome: ErrorOutcome) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_SERVER_DRAINING,
        "Server draining; call another instance for the cards without a message.",
        outcome=outcome,
        retry_after_seconds=0.0,
    )
