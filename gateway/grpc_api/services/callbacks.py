"""CallbackService: connects handlers with the broker, over one stream each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeAlias

import structlog

from gateway.auth.issuers import Issuers, authorized_issuer
from gateway.callbacks.model import CallbackRegistry, HandlerSession, Outcome
from gateway.errors import FieldViolation, GatewayError
from gateway.grpc_api.interceptors.chain import Context
from gateway.validation.truncate import invalid_request
from gateway.validation.validator import Validation
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import service_pb2_grpc
from issuer.common.v1 import error_pb2

__all__ = ["CallbackServicer"]

_log = structlog.get_logger(__name__)
_DEFAULT_MAX_IN_FLIGHT = 16
_REGISTRATION_SECONDS = 10.0
_IDLE_POLL_SECONDS = 0.05
_KINDS = {
    number: name.removeprefix("CALLBACK_KIND_").lower()
    for name, number in callback.CallbackKind.items()
    if number != callback.CALLBACK_KIND_UNSPECIFIED
}

_OF_ANOTHER_KIND = FieldViolation("response", "must be of the question's kind", "reply.kind")

_Requests: TypeAlias = AsyncIterator[callback.HandleCallbacksRequest | None]


class CallbackServicer(service_pb2_grpc.CallbackServiceServicer):
    """See ``issuer/callback/v1/service.proto`` for what it promises."""

    def __init__(
        self,
        issuers: Issuers,
        registry: CallbackRegistry,
        validation: Validation,
        *,
        registration_timeout_seconds: float = _REGISTRATION_SECONDS,
    ) -> None:
        """Prepare.

        Args:
            issuers: Those that handlers may register for.
            registry: Hands out the questions.
            validation: Checks what handlers send.
            registration_timeout_seconds: How long a stream may take to register.
        """
        self._registration_timeout_seconds = registration_timeout_seconds
        self._issuers = issuers
        self._registry = registry
        self._validation = validation
        self._outboxes: set[_Outbox] = set()
        self._is_draining = False

    def drain(self) -> None:
        """Tell every handler that this instance shuts down, and take no further ones."""
        self._is_draining = True
        self._registry.leave()
        for outbox in self._outboxes:
            outbox.put(callback.HandleCallbacksResponse(draining=callback.Draining()))

    async def close(self) -> None:
        """End every stream, as soon as nobody waits for a reply, here or at another gateway."""
        while not self._registry.is_idle:  # noqa: ASYNC110 (it happens once, and takes seconds at most)
            await asyncio.sleep(_IDLE_POLL_SECONDS)
        for outbox in self._outboxes:
            outbox.end(_draining())

    async def HandleCallbacks(  # type: ignore[override] # it writes to the context
        self, requests: _Requests, context: Context
    ) -> None:
        """Serve a handler for as long as it stays."""
        if self._is_draining:
            raise _draining()
        registration = await self._registration(requests)
        issuer_ids = [authorized_issuer(self._issuers, each) for each in registration.issuer_ids or ("",)]
        topics = [(issuer_id, _KINDS[kind]) for issuer_id in issuer_ids for kind in registration.kinds]
        max_in_flight = registration.max_in_flight or _DEFAULT_MAX_IN_FLIGHT
        reports_all = registration.receipts != callback.RECEIPT_MODE_NOT_ACCEPTED
        outbox = _Outbox(self._registry.refresh, most_receipts=2 * max_in_flight, reports_all=reports_all)
        outbox.put(callback.HandleCallbacksResponse(registered=callback.Registered(max_in_flight=max_in_flight)))
        _log.info("handler_connected", handler=registration.name, issuers=issuer_ids, kinds=_names(registration))
        session = self._registry.connect(outbox, topics, max_in_flight)
        self._outboxes.add(outbox)
        reading = asyncio.create_task(self._read(requests, session, outbox))
        try:
            async for message in outbox.messages():
                await context.write(message)
        finally:
            self._outboxes.discard(outbox)
            left = len(session.held)
            self._registry.disconnect(session)
            _log.info("handler_disconnected", handler=registration.name, unanswered=left)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _registration(self, requests: _Requests) -> callback.Registration:
        try:
            async with asyncio.timeout(self._registration_timeout_seconds):
                first = await anext(requests, None)
        except TimeoutError:
            seconds = self._registration_timeout_seconds
            raise _misplaced("registration", f"the registration must come within {seconds:g} s") from None
        self._validation.check(first)
        if first is None or first.WhichOneof("message") != "registration":
            raise _misplaced("registration", "the first message must be the registration")
        return first.registration

    async def _read(self, requests: _Requests, session: HandlerSession, outbox: "_Outbox") -> None:
        """Take what a handler sends until it has no more to say."""
        failure: Exception | None = None
        try:
            async for request in requests:
                await outbox.has_room_for_receipts()
                self._take(request, session, outbox)
        except Exception as error:  # noqa: BLE001 (whatever it is, the stream ends with it)
            failure = error
        # It may be long before it has read the rest, and it cannot reply to anything new.
        self._registry.drain(session)
        outbox.end(failure)

    def _take(
        self, request: callback.HandleCallbacksRequest | None, session: HandlerSession, outbox: "_Outbox"
    ) -> None:
        violations, unnamed_count = self._validation.violations(request)
        match None if request is None else request.WhichOneof("message"):
            case "reply" if request is not None:
                token = request.reply.token
                outbox.expect_receipt()
                if violations:
                    outbox.tell(token, callback.REPLY_OUTCOME_INVALID, violations)
                else:
                    self._registry.take(session, request.reply, partial(outbox.tell, token))
            case "drain":
                self._registry.drain(session)
            case "registration":
                raise _misplaced("registration", "there must be one registration")
            case _:
                raise invalid_request(violations, unnamed_count)


class _Outbox:
    """What a handler is sent next. A handler that does not read has as much waiting as it asked for, and no more."""

    def __init__(self, refresh: Callable[[callback.Question], bool], *, most_receipts: int, reports_all: bool) -> None:
        self._refresh = refresh
        self._messages: list[callback.HandleCallbacksResponse] = []
        self._most = most_receipts
        self._reports_all = reports_all
        self._expected = 0
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_over = False
        self._error: Exception | None = None

    def send(self, question: callback.Question) -> None:
        """Send a question; see `gateway.callbacks.broker.Handler`."""
        self.put(callback.HandleCallbacksResponse(question=question))

    def withdraw(self, token: str) -> None:
        """Take a question back that has not been sent; see `gateway.callbacks.broker.Handler`."""
        self._messages = [message for message in self._messages if message.question.token != token]

    def expect_receipt(self) -> None:
        """Note that `tell` will be called."""
        self._expected += 1

    def tell(self, token: str, outcome: Outcome, violations: Sequence[FieldViolation] = ()) -> None:
        """Send a receipt, if the handler wants such."""
        self._expected -= 1
        if outcome == callback.REPLY_OUTCOME_INVALID:
            violations = violations or [_OF_ANOTHER_KIND]
        if self._reports_all or outcome != callback.REPLY_OUTCOME_ACCEPTED:
            self.put(callback.HandleCallbacksResponse(receipt=_receipt(token, outcome, violations)))
        elif self._is_over:
            self._changed.set()
        self._drained.set()

    def put(self, message: callback.HandleCallbacksResponse) -> None:
        """Send a message after those before it."""
        self._messages.append(message)
        self._changed.set()

    def end(self, error: Exception | None) -> None:
        """End the stream, well or with an error, after all that is still to be sent but questions.

        The first end stands.
        """
        if not self._is_over:
            self._is_over = True
            self._error = error
            self._messages = [message for message in self._messages if not message.HasField("question")]
            self._changed.set()

    async def has_room_for_receipts(self) -> None:
        """Wait until the handler has read enough of what it was sent, and was told what became of its replies."""
        while len(self._messages) + self._expected > self._most:
            self._drained.clear()
            await self._drained.wait()

    async def messages(self) -> AsyncIterator[callback.HandleCallbacksResponse]:
        """Yield each message as it comes, but for questions whose time is over.

        Raises:
            GatewayError: The stream ended so.
        """
        while True:
            while self._messages:
                message = self._messages.pop(0)
                if not message.HasField("question") or self._refresh(message.question):
                    yield message
                self._drained.set()
            if self._is_over and not self._expected:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error


def _receipt(token: str, outcome: Outcome, violations: Sequence[FieldViolation]) -> callback.ReplyReceipt:
    return callback.ReplyReceipt(
        token=token,
        outcome=outcome,
        violations=[
            callback.ReplyViolation(
                field=each.field.removeprefix("reply."), description=each.description, rule=each.rule
            )
            for each in violations
        ],
    )


def _names(registration: callback.Registration) -> list[str]:
    return [_KINDS[kind] for kind in registration.kinds]


def _draining() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_SERVER_DRAINING,
        "This instance is shutting down: open the stream at another one.",
        outcome=error_pb2.OUTCOME_NOT_SENT,
        retry_after_seconds=0.0,
    )


def _misplaced(field: str, description: str) -> GatewayError:
    return invalid_request([FieldViolation(field, description, "stream.order")])
