"""First part: requests at one gateway reach services at the other."""

import uuid
from collections.abc import Awaitable, Callable

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1.card_data_pb2 import CardCredentials, CardExpiry
from sandbox.d1.model.contract import CardState
from sandbox.demo.authentications import Authentications
from sandbox.demo.cards import Cards
from sandbox.demo.cluster.site import Site, readiness
from sandbox.demo.notifications import Notifications
from sandbox.demo.purchases import Purchases
from sandbox.demo.shopper import Shopper
from sandbox.demo.stage import CALL_SECONDS, answering
from sandbox.demo.steps import expect
from sandbox.handler import Handler

__all__ = ["Sharing"]

_CARD = "card_demo_shared"


class Sharing:
    """Calls, callbacks and notifications, from gateway to gateway."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def walk(self) -> None:
        """Run the steps."""
        site, steps = self._site, self._site.steps
        steps.title("Two gateways share three NATS servers")
        await steps.run("both gateways are ready", self._ready)
        await steps.run("the event log is on every NATS server", site.until_in_step)
        site.d1_calls(site.a)
        await Cards(site.a).walk()
        await Authentications(site.b).walk()
        async with answering(site.b):
            await Purchases(site.b).walk("Purchases: D1 -> gateway A -> NATS -> gateway B -> handler, and back")
        steps.title("Notifications: D1 -> gateway A -> NATS -> gateway B -> subscriber")
        await Notifications(site.b).walk_arrivals()
        site.d1_calls(site.b)
        steps.title("In the other direction: D1 -> gateway B -> NATS -> gateway A -> handler, subscriber")
        await Notifications(site.a).walk_arrivals()
        for name, action in self._callback_steps():
            await steps.run(name, action)
        await steps.run("SuspendCard at A, repeated at B with its request_id", self._repeated)

    def _callback_steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        shopper = Shopper(self._site.a)

        def with_handler(action: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
            async def run() -> str:
                async with Handler.connect(self._site.a.channel, shopper.responders(), name="demo"):
                    return await action()

            return run

        async def approved() -> str:
            ended = await shopper.decide(approves=True)
            return f"completed at A, asked for at B: {ended}"

        return [
            ("D1 sends the OTP to the number from the reply", with_handler(shopper.otp_by_d1)),
            ("the issuer sends the OTP, the consumer enters it", with_handler(shopper.otp_by_issuer)),
            ("the issuer's own app: approved", with_handler(approved)),
        ]

    async def _ready(self) -> str:
        return f"A {await readiness(self._site.a)}, B {await readiness(self._site.b)}"

    async def _repeated(self) -> str:
        here, there = CardServiceStub(self._site.a.channel), CardServiceStub(self._site.b.channel)
        credentials = CardCredentials(pan="4970101222222222", expiry=CardExpiry(month=12, year=2031))
        register = card.RegisterCardRequest(
            card_id=_CARD, consumer_id="consumer_demo_1", card_product_id="light", credentials=credentials
        )
        suspend = card.SuspendCardRequest(card_id=_CARD, reason_code="CARD_LOST", request_id=str(uuid.uuid4()))
        resume = card.ResumeCardRequest(card_id=_CARD, reason_code="CARD_FOUND")
        await here.RegisterCard(register, timeout=CALL_SECONDS)
        await here.SuspendCard(suspend, timeout=CALL_SECONDS)
        await here.ResumeCard(resume, timeout=CALL_SECONDS)
        repeat = there.SuspendCard(suspend, timeout=CALL_SECONDS)
        await repeat
        expect("x-idempotent-replay" in dict(await repeat.trailing_metadata() or ()), "the reply is not a replay")
        state = self._site.sandbox.store.card(_CARD).state
        expect(state is CardState.ACTIVE, f"the repeat reached D1: the card is {state.value}")
        return f"a replay; the card, resumed in between, is still {state.value} at D1"
