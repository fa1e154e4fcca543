"""Purchases with the issuer's cards: D1 authenticates the cardholder, stores the outcome and notifies it."""

from collections.abc import Callable
from datetime import UTC, datetime

from sandbox.d1.acs.authenticators import Authenticators
from sandbox.d1.acs.challenges import Challenges
from sandbox.d1.acs.purchase import Delivery, Flow, NotAuthenticatedError, Order, Purchase
from sandbox.d1.callbacks.background import Background
from sandbox.d1.callbacks.edge_client import NotDeliveredError
from sandbox.d1.callbacks.notifier import Notifier
from sandbox.d1.callbacks.requests import CallbackError
from sandbox.d1.model.contract import CardState
from sandbox.d1.model.notification import History
from sandbox.d1.model.store import CardStore

__all__ = ["NotPossibleError", "Purchases"]


class NotPossibleError(Exception):
    """The purchase is not possible. The text gives the reason."""


class Purchases:
    """All purchases since the sandbox started."""

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
        """Start without purchases.

        Args:
            challenges: Authenticates the cardholders.
            cards: The store of cards.
            authenticators: The enrolled authenticators.
            history: Stores the outcomes.
            notifier: Sends the notifications.
            background: Runs the purchases.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._challenges = challenges
        self._cards = cards
        self._authenticators = authenticators
        self._history = history
        self._notifier = notifier
        self._background = background
        self._clock = clock
        self._purchases: dict[str, Purchase] = {}
        self.on_change: Callable[[Purchase], None] = lambda _: None
        """Called with each purchase as it starts, and whenever its status changes."""

    def all(self) -> tuple[Purchase, ...]:
        """Return all purchases, oldest first."""
        return tuple(self._purchases.values())

    def find(self, purchase_id: str) -> Purchase | None:
        """Return a purchase, or None."""
        return self._purchases.get(purchase_id)

    def start(self, order: Order) -> Purchase:
        """Start a purchase; D1 processes it in the background.

        Raises:
            D1Error: The card is unknown.
            NotPossibleError: The card is not active, or no authenticator is enrolled.
        """
        card = self._cards.card(order.card_id)
        if card.state is not CardState.ACTIVE:
            raise NotPossibleError("the card is not active")
        if order.flow is Flow.OOB and not self._authenticators.has_any(card.details.consumer_id):
            raise NotPossibleError("the consumer has not enrolled an authenticator")
        started = datetime.fromtimestamp(self._clock(), UTC)
        purchase = Purchase(order, card, started, on_change=self.on_change)
        self.on_change(purchase)
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
        except (NotAuthenticatedError, NotDeliveredError, CallbackError) as error:
            return str(error)
        return None

    async def _notify(self, purchase: Purchase) -> Delivery:
        try:
            return Delivery(await self._notifier.deliver(purchase.operation()))
        except NotDeliveredError as error:
            return Delivery(None, str(error))
