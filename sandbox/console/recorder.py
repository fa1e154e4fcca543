"""Notes what the simulators and the sandbox's handler do, as items of the feed."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import Any, Final

from sandbox.common.answers import Answer, Answering
from sandbox.console.feed import Feed
from sandbox.d1.acs.challenges import Sms
from sandbox.d1.acs.control import shown_purchase, shown_sms
from sandbox.d1.acs.purchase import Purchase
from sandbox.d1.callbacks.edge_client import Exchange
from sandbox.d1.simulator import D1
from sandbox.threeds.simulator import ThreeDS

__all__ = ["Recorder", "masked"]

_MOST_PURCHASES: Final = 200
_MASK: Final = "••••"
_SECRET: Final = frozenset({"acctNumber", "cardExpiryDate", "authenticationValue"})


class Recorder:
    """Puts purchases, SMS, D1's calls and the handler's answers into a feed as they happen."""

    def __init__(self, feed: Feed, clock: Callable[[], float]) -> None:
        """Record nothing yet; `record` begins.

        Args:
            feed: Takes the items.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._feed = feed
        self._clock = clock
        self._numbers = count(1)
        self._moments: OrderedDict[str, list[tuple[float, str]]] = OrderedDict()
        """When each purchase changed, and to what."""

    def record(self, d1: D1, threeds: ThreeDS, issuer: Answering) -> None:
        """Record what these do from now on."""
        d1.purchases.on_change = self._purchase
        d1.phones.on_sms = self._sms
        d1.edge.on_exchange = partial(self._put_once, "calls")
        threeds.endpoints.on_authentication = self._authentication
        issuer.on_answer = partial(self._put_once, "answers")

    def _purchase(self, purchase: Purchase) -> None:
        key = purchase.purchase_id
        moments = self._moments.setdefault(key, [])
        word = "NOTIFIED" if purchase.delivery is not None else purchase.status.value
        moments.append((self._clock(), word))
        if len(self._moments) > _MOST_PURCHASES:
            self._moments.popitem(last=False)
        self._feed.put("purchases", key, partial(_shown, purchase, moments))

    def _sms(self, message: Sms) -> None:
        self._feed.put("sms", str(next(self._numbers)), partial(shown_sms, message))

    def _authentication(self, areq: Mapping[str, Any], ares: Mapping[str, Any]) -> None:
        shown = {"at": self._clock(), "areq": masked(areq), "ares": masked(ares)}
        self._feed.put("authentications", str(next(self._numbers)), partial(dict, shown))

    def _put_once(self, topic: str, what: Exchange | Answer) -> None:
        # Both are noted as they begin and as they end; one that has ended is an item that changed.
        self._feed.put(topic, f"{topic}-{id(what)}-{what.began}", partial(asdict, what))


def masked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of EMV 3DS without what only its parties may know."""
    shown = {name: _MASK if name in _SECRET else value for name, value in message.items()}
    pan = message.get("acctNumber")
    if isinstance(pan, str):
        shown["acctNumber"] = _MASK + pan[-4:]
    return shown


def _shown(purchase: Purchase, moments: list[tuple[float, str]]) -> Mapping[str, Any]:
    return {**shown_purchase(purchase), "began": purchase.start_time.timestamp(), "moments": moments}
