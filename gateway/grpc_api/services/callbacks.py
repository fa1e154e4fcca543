"""CallbackService: connects each handler to the broker over one stream."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from functools import partial
from typing import TypeAlias

import structlog

from gateway.auth.issuers import Issuers, authorized_issuer
from gateway.callbacks.model import CallbackRegistry, ConnectedHandler, HandlerSession, Outcome
from gateway.errors import FieldViolation, GatewayError
from gateway.grpc_api.interceptors.chain import Context
from gateway.telemetry.metrics import Metrics, by_outcome
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

_OUTCOMES = {number: name.removeprefix("REPLY_OUTCOME_").lower() for name, number in callback.ReplyOutcome.items()}
_WORDS = [word for number, word in _OUTCOMES.items() if number != callback.REPLY_OUTCOME_UNSPECIFIED]
_WRONG_KIND = FieldViolation("response", "must be of the callback request's kind", "reply.kind")

_Requests: TypeAlias = AsyncIterator[callback.HandleCallbacksRequest]


class CallbackServicer(service_pb2_grpc.CallbackServiceServicer):
    """See ``issuer/callback/v1/service.proto`` for the contract."""

    def __init__(
        self,
        issuers: Issuers,
        registry: CallbackRegistry,
        validation: Validation,
        metrics: Metrics,
        *,
        registration_timeout_seconds: float = _REGISTRATION_SECONDS,
    ) -> None:
        """Start without handlers.

        Args:
            issuers: The issuers that handlers may register for.
            registry: Sends callback requests to handlers.
            validation: Checks what handlers send.
            metrics: Counts their replies.
            registration_timeout_seconds: The time that a stream has to register.
        """
        self._registration_timeout_seconds = registration_timeout_seconds
        self._issuers = issuers
        self._registry = registry
        self._validation = validation
        self._count_reply = by_outcome(metrics.callback_replies, _WORDS)
        self._outboxes: dict[_Outbox, ConnectedHandler] = {}
        self._unregistered: set[asyncio.Timeout] = set()
        self._is_draining = False

    @property
    def handlers(self) -> Collection[ConnectedHandler]:
        """The handlers that are connected, the earliest first."""
        return self._outboxes.values()

    def drain(self) -> None:
        """Notify every handler of the shutdown, and accept no new ones."""
        self._is_draining = True
        self._registry.begin_drain()
        for wait in self._unregistered:
            if not wait.expired():
                wait.reschedule(0.0)
        for outbox in self._outboxes:
            outbox.put(callback.HandleCallbacksResponse(draining=callback.GatewayDraining()))

    async def close(self) -> None:
        """End every stream, as soon as nobody waits for a reply, here or at a peer."""
        while not self._registry.is_idle:  # noqa: ASYNC110 (it happens once, and takes seconds at most)
            await asyncio.sleep(_IDLE_POLL_SECONDS)
        for outbox in self._outboxes:
            outbox.end(_draining())

    async def HandleCallbacks(  # type: ignore[override] # it writes to the context
        self, requests: _Requests, context: Context
    ) -> None:
        """Serve a handler while it is connected."""
        if self._is_draining:
            raise _draining()
        registration = await self._registration(requests)
        issuer_ids = [authorized_issuer(self._issuers, each) for each in registration.issuer_ids or ("",)]
        topics = [(issuer_id, _KINDS[kind]) for issuer_id in issuer_ids for kind in registration.callback_kinds]
        max_in_flight = registration.max_in_flight or _DEFAULT_MAX_IN_FLIGHT
        reports_all = registration.acknowledgement_mode != callback.ACKNOWLEDGEMENT_MODE_NOT_ACCEPTED
        outbox = _Outbox(
            self._registry.refresh,
            partial(self._note, registration.name),
            max_outcomes=2 * max_in_flight,
            reports_all=reports_all,
        )
        outbox.put(callback.HandleCallbacksResponse(registered=callback.HandlerRegistered(max_in_flight=max_in_flight)))
        _log.info("handler_connected", handler=registration.name, issuers=issuer_ids, kinds=_names(registration))
        session = self._registry.connect(outbox, topics, max_in_flight)
        self._outboxes[outbox] = ConnectedHandler(registration.name, session)
        reading = asyncio.create_task(self._read(requests, session, outbox))
        try:
            async for message in outbox.messages():
                await context.write(message)
        finally:
            del self._outboxes[outbox]
            unanswered = len(session.held)
            self._registry.disconnect(session)
            _log.info("handler_disconnected", handler=registration.name, unanswered=unanswered)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _note(self, handler: str, outcome: Outcome) -> None:
        """Count a reply, and log one that does not count, in the word of its acknowledgement."""
        word = _OUTCOMES[outcome]
        self._count_reply(word)
        if outcome != callback.REPLY_OUTCOME_ACCEPTED:
            _log.info("callback_reply_not_counted", handler=handler, outcome=word)

    async def _registration(self, requests: _Requests) -> callback.HandlerRegistration:
        try:
            async with asyncio.timeout(self._registration_timeout_seconds) as wait:
                self._unregistered.add(wait)
                first = await anext(requests)
        except StopAsyncIteration:
            raise _out_of_order("is missing: the handler closed its side of the stream without one") from None
        except TimeoutError:
            if self._is_draining:
                raise _draining() from None
            seconds = self._registration_timeout_seconds
            raise _out_of_order(f"must come within {seconds:g} s") from None
        finally:
            self._unregistered.discard(wait)
        self._validation.check(first)
        if first.WhichOneof("message") != "registration":
            raise _out_of_order("must be the first message")
        return first.registration

    async def _read(self, requests: _Requests, session: HandlerSession, outbox: "_Outbox") -> None:
        """Process what a handler sends until its side of the stream ends."""
        failure: Exception | None = None
        try:
            async for request in requests:
                await outbox.wait_for_room()
                self._take(request, session, outbox)
        except Exception as error:  # noqa: BLE001 (whatever it is, the stream ends with it)
            failure = error
        # The handler may take long to read the rest, and cannot reply to anything new.
        self._registry.drain(session)
        outbox.end(failure)

    def _take(self, request: callback.HandleCallbacksRequest, session: HandlerSession, outbox: "_Outbox") -> None:
        match request.WhichOneof("message"):
            case "callback_reply":
                reply = request.callback_reply
                violations, _ = self._validation.violations(reply)
                outbox.expect_outcome()
                if violations:
                    outbox.report(reply.token, callback.REPLY_OUTCOME_INVALID, violations)
                else:
                    self._registry.take(session, reply, partial(outbox.report, reply.token))
            case "draining":
                self._registry.drain(session)
            case "registration":
                raise _out_of_order("must be sent once, as the first message; open another stream for another one")
            case _:
                raise invalid_request(*self._validation.violations(request))


class _Outbox:
    """The messages for a handler. A handler that does not read limits how many wait."""

    def __init__(
        self,
        refresh: Callable[[callback.CallbackRequest], bool],
        note: Callable[[Outcome], None],
        *,
        max_outcomes: int,
        reports_all: bool,
    ) -> None:
        self._refresh = refresh
        self._note = note
        self._messages: OrderedDict[object, callback.HandleCallbacksResponse] = OrderedDict()
        """In the order of their arrival: callback requests by their token, others by an object of their own."""
        self._dropped: set[str] = set()
        """The tokens of the callback requests that were still queued when the stream ended."""
        self._max_outcomes = max_outcomes
        self._reports_all = reports_all
        self._expected = 0
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_over = False
        self._error: Exception | None = None

    def send(self, request: callback.CallbackRequest) -> None:
        """See `gateway.callbacks.model.Handler`."""
        self.put(callback.HandleCallbacksResponse(callback_request=request), request.token)

    def withdraw(self, token: str) -> bool:
        """See `gateway.callbacks.model.Handler`."""
        return self._messages.pop(token, None) is not None or token in self._dropped

    def expect_outcome(self) -> None:
        """Note that `report` will be called."""
        self._expected += 1

    def report(self, token: str, outcome: Outcome, violations: Sequence[FieldViolation] = ()) -> None:
        """Acknowledge a reply, if the handler's acknowledgement mode includes this outcome."""
        self._expected -= 1
        self._note(outcome)
        if outcome == callback.REPLY_OUTCOME_INVALID:
            violations = violations or [_WRONG_KIND]
        if self._reports_all or outcome != callback.REPLY_OUTCOME_ACCEPTED:
            self.put(callback.HandleCallbacksResponse(acknowledgement=_acknowledgement(token, outcome, violations)))
        elif self._is_over:
            self._changed.set()
        self._drained.set()

    def put(self, message: callback.HandleCallbacksResponse, key: object = None) -> None:
        """Queue a message."""
        self._messages[key or object()] = message
        self._changed.set()

    def end(self, error: Exception | None) -> None:
        """End the stream, with an error if given, once all queued messages but callback requests are sent.

        Only the first call has an effect.
        """
        if not self._is_over:
            self._is_over = True
            self._error = error
            self._dropped = {key for key in self._messages if isinstance(key, str)}
            for token in self._dropped:
                del self._messages[token]
            self._changed.set()

    async def wait_for_room(self) -> None:
        """Wait until the handler has read enough messages and has got the outcomes of its replies."""
        while len(self._messages) + self._expected > self._max_outcomes:
            self._drained.clear()
            await self._drained.wait()

    async def messages(self) -> AsyncIterator[callback.HandleCallbacksResponse]:
        """Yield each message as it comes, except expired callback requests.

        Raises:
            GatewayError: The error that ended the stream.
        """
        while True:
            while self._messages:
                _, message = self._messages.popitem(last=False)
                if not message.HasField("callback_request") or self._refresh(message.callback_request):
                    yield message
                self._drained.set()
            if self._is_over and not self._expected:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error


def _acknowledgement(
    token: str, outcome: Outcome, violations: Sequence[FieldViolation]
) -> callback.ReplyAcknowledgement:
    return callback.ReplyAcknowledgement(
        token=token,
        outcome=outcome,
        violations=[
            callback.ReplyViolation(field=each.field, description=each.description, rule=each.rule)
            for each in violations
        ],
    )


def _names(registration: callback.HandlerRegistration) -> list[str]:
    return [_KINDS[kind] for kind in registration.callback_kinds]


def _draining() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_SERVER_DRAINING,
        "Server draining; open the stream at another instance.",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        retry_after_seconds=0.0,
    )


def _out_of_order(description: str) -> GatewayError:
    return invalid_request([FieldViolation("registration", description, "stream.order")])
