"""The purchases with the issuer's cards: D1 authenticates their cardholders, keeps the outcome and notifies it."""

from collections.abc import Callable
from datetime import UTC, datetime

from sandbox.d1.acs.authenticators import Authenticators
from sandbox.d1.acs.challenges import Challenges
from sandbox.d1.acs.purchase import Delivery, Flow, NotAuthenticatedError, Order, Purchase
from sandbox.d1.callbacks.background import Background
from sandbox.d1.callbacks.edge import NotDeliveredError
from sandbox.d1.callbacks.notifier import Notifier
from sandbox.d1.callbacks.questions import QuestionError
from sandbox.d1.model.contract import CardState
from sandbox.d1.model.notification import History
from sandbox.d1.model.store import CardStore

__all__ = ["NotPossibleError", "Purchases"]


class NotPossibleError(Exception):
    """A purchase cannot be made so. The text says why."""


class Purchases:
    """Every purchase since the sandbox was started."""

    def __init__(
        self,
        challenges: Challenges,
        cards: CardStore,
        authenticators: Authenticators,
        history: History,
        notifier: Notifier,
        background: Background,
        *,
        clock: Callable[[], float],
    ) -> None:
        """Have none.

        Args:
            challenges: Authenticates the cardholders.
            cards: With what is paid.
            authenticators: Who can be authenticated out of band.
            history: Keeps the outcomes.
            notifier: Tells the edge of them.
            background: Where all that is done.
            clock: Tells the time, in seconds since 1970 (UTC).
        """
        self._challenges = challenges
        self._cards = cards
        self._authenticators = authenticators
        self._history = history
        self._notifier = notifier
        self._background = background
        self._clock = clock
        self._purchases: dict[str, Purchase] = {}

    def all(self) -> tuple[Purchase, ...]:
        """All purchases, in the order in which they came."""
        return tuple(self._purchases.values())

    def find(self, purchase_id: str) -> Purchase | None:
        """One purchase."""
        return self._purchases.get(purchase_id)

    def start(self, order: Order) -> Purchase:
        """Begin a purchase; it goes on by itself, as far as it does not wait for its consumer.

        Raises:
            D1Error: The card is not known.
            NotPossibleError: The card is not active, or no authenticator is enrolled.
        """
        card = self._cards.card(order.card_id)
        if card.state is not CardState.ACTIVE:
            raise NotPossibleError("the card is not active")
        if order.flow is Flow.OOB and not self._authenticators.has_any(card.details.consumer_id):
            raise NotPossibleError("the consumer has not enrolled an authenticator")
        purchase = Purchase(order, card, datetime.fromtimestamp(self._clock(), UTC))
        self._purchases[purchase.purchase_id] = purchase
        self._background.start(self._run(purchase), f"purchase {purchase.purchase_id}")
        return purchase

    async def _run(self, purchase: Purchase) -> None:
        try:
            purchase.end(await self._authenticate(purchase))
            self._history.add(purchase.operation())
            purchase.deliver(await self._notify(purchase))
        finally:
            purchase.break_off()

    async def _authenticate(self, purchase: Purchase) -> str | None:
        try:
            await self._challenges.authenticate(purchase)
        except (NotAuthenticatedError, NotDeliveredError, QuestionError) as error:
            return str(error)
        return None

    async def _notify(self, purchase: Purchase) -> Delivery:
        try:
            return Delivery(await self._notifier.deliver(purchase.operation()))
        except NotDeliveredError as error:
            return Delivery(None, str(error))
