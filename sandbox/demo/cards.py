"""First part: a card's life cycle, from gRPC to D1."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.common.v1 import card_data_pb2, error_pb2
from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import Operation
from sandbox.demo.notification_sender import CARD
from sandbox.demo.sights import CARDS, FAULTS, LOG
from sandbox.demo.stage import CALL_SECONDS, Stage, expect_error
from sandbox.demo.steps import UnexpectedError, expect

__all__ = ["Cards"]

_CONSUMER = "consumer_demo_1"
_PRODUCT = "light"
_CARD_OF_FAULTS = "card_demo_5"
_FAULTY_CALLS = 100


class Cards:
    """A card's life cycle, and its errors."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def walk(self) -> None:
        """Run the steps."""
        steps = self._stage.steps
        steps.title("A card's life cycle: gRPC -> gateway -> D1", see=CARDS)
        await steps.run("the health check reports SERVING", self._health)
        for name, action in self._card_steps():
            await steps.run(name, action)
        steps.title("Errors carry a reason and an outcome", see=LOG)
        await steps.run("a malformed PAN never leaves the gateway", self._malformed)
        await steps.run("D1 rejects a state change", self._wrong_state)
        await steps.run("D1's response is lost: the outcome is unknown", self._answer_lost)
        await steps.run("D1 answers 503: nothing is done", self._out_of_order, see=FAULTS)
        await steps.run("D1 is back: the same call passes", self._back, see=CARDS)

    def _card_steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        cards = card_grpc.CardServiceStub(self._stage.channel)
        register = _register(CARD, "4970101234567890")
        suspend = card.SuspendCardRequest(card_id=CARD, reason_code="CARD_LOST")
        resume = card.ResumeCardRequest(card_id=CARD, reason_code="CARD_FOUND")
        renew = card.RenewCardRequest(card_id=CARD, credentials=_credentials("4970101234567890", 2033))
        replace = card.ReplaceCardRequest(
            card_id=CARD,
            reason_code="CARD_STOLEN",
            new_card_id="card_demo_2",
            credentials=_credentials("4970109876543210", 2033),
        )
        delete = card.DeleteCardRequest(card_id="card_demo_2", reason_code="CLOSED_CARD")

        def changes(call: Callable[..., Awaitable[Any]], request: Any, then: str) -> Callable[[], Awaitable[str]]:
            async def action() -> str:
                await call(request, timeout=CALL_SECONDS)
                return self._states(then)

            return action

        async def create() -> str:
            created = await cards.CreateCard(
                card.CreateCardRequest(
                    consumer_id=_CONSUMER,
                    card_product_id="full",
                    accounts=[card.CardAccount(is_default=True, number="12345678", currency_code="EUR")],
                ),
                timeout=CALL_SECONDS,
            )
            return f"D1 assigned the id {created.card_id}"

        return [
            ("RegisterCard, its PAN encrypted for D1 (JWE)", changes(cards.RegisterCard, register, f"{CARD} ACTIVE")),
            ("RegisterCard again: idempotent", changes(cards.RegisterCard, register, f"{CARD} ACTIVE")),
            ("SuspendCard: CARD_LOST", changes(cards.SuspendCard, suspend, f"{CARD} SUSPENDED")),
            ("ResumeCard: CARD_FOUND", changes(cards.ResumeCard, resume, f"{CARD} ACTIVE")),
            ("RenewCard: a new expiry", changes(cards.RenewCard, renew, f"{CARD} ACTIVE")),
            ("ReplaceCard: a new PAN and id", changes(cards.ReplaceCard, replace, f"{CARD} REPLACED")),
            ("DeleteCard", changes(cards.DeleteCard, delete, "card_demo_2 DELETED")),
            ("CreateCard: D1 creates the card", create),
        ]

    def _states(self, then: str) -> str:
        states = [f"{each.card_id} {each.state.value}" for each in self._stage.sandbox.store.cards()]
        expect(then in states, f"D1 has {', '.join(states)}")
        return f"at D1: {', '.join(states)}"

    async def _health(self) -> str:
        service = "issuer.card.v1.CardService"
        check = self._stage.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        response = await check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
        expect(response.status == health_pb2.HealthCheckResponse.SERVING, "the gateway is not serving")
        return f"{service} SERVING"

    async def _malformed(self) -> str:
        request = _register("card_demo_3", "4970 1012 3456")
        return await self._rejected(request, error_pb2.ERROR_REASON_INVALID_REQUEST, error_pb2.ERROR_OUTCOME_NOT_SENT)

    async def _wrong_state(self) -> str:
        request = card.SuspendCardRequest(card_id="card_demo_2", reason_code="FRAUD")
        return await self._rejected(
            request, error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN, error_pb2.ERROR_OUTCOME_REJECTED
        )

    async def _answer_lost(self) -> str:
        self._stage.sandbox.faults.add(Fault(operation=Operation.SUSPEND_CARD.value, times=1, drop=Drop.AFTER))
        card_id = "card_demo_4"
        cards = card_grpc.CardServiceStub(self._stage.channel)
        await cards.RegisterCard(_register(card_id, "4970101111111111"), timeout=CALL_SECONDS)
        request = _suspend(card_id)
        expected = error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE, error_pb2.ERROR_OUTCOME_UNKNOWN
        return await self._rejected(request, *expected)

    async def _out_of_order(self) -> str:
        steps, faults = self._stage.steps, self._stage.sandbox.faults
        cards = card_grpc.CardServiceStub(self._stage.channel)
        await cards.RegisterCard(_register(_CARD_OF_FAULTS, "4970102222222222"), timeout=CALL_SECONDS)
        fault = Fault(operation=Operation.SUSPEND_CARD.value, times=_FAULTY_CALLS, status=503)
        faults.add(fault)
        await steps.glance()
        expected = error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, error_pb2.ERROR_OUTCOME_REJECTED
        rejected = await self._rejected(_suspend(_CARD_OF_FAULTS), *expected)
        expect(faults.pending() == ((fault, _FAULTY_CALLS - 1),), "the fault met another number of calls")
        return rejected

    async def _back(self) -> str:
        self._stage.sandbox.faults.clear()
        cards = card_grpc.CardServiceStub(self._stage.channel)
        await cards.SuspendCard(_suspend(_CARD_OF_FAULTS), timeout=CALL_SECONDS)
        return self._states(f"{_CARD_OF_FAULTS} SUSPENDED")

    async def _rejected(
        self,
        request: card.RegisterCardRequest | card.SuspendCardRequest,
        reason: "error_pb2.ErrorReason.ValueType",
        outcome: "error_pb2.ErrorOutcome.ValueType",
    ) -> str:
        cards = card_grpc.CardServiceStub(self._stage.channel)
        try:
            if isinstance(request, card.RegisterCardRequest):
                await cards.RegisterCard(request, timeout=CALL_SECONDS)
            else:
                await cards.SuspendCard(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            return expect_error(error, reason, outcome)
        raise UnexpectedError("the call succeeded")


def _register(card_id: str, pan: str) -> card.RegisterCardRequest:
    return card.RegisterCardRequest(
        card_id=card_id,
        consumer_id=_CONSUMER,
        card_product_id=_PRODUCT,
        credentials=_credentials(pan, 2031),
    )


def _suspend(card_id: str) -> card.SuspendCardRequest:
    return card.SuspendCardRequest(card_id=card_id, reason_code="USER_DECISION")


def _credentials(pan: str, year: int) -> card_data_pb2.CardCredentials:
    return card_data_pb2.CardCredentials(pan=pan, expiry=card_data_pb2.CardExpiry(month=12, year=year))
