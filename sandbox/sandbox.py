"""The sandbox as a whole: started, found, and stopped."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sandbox.common.faults import Faults
from sandbox.common.pki import Pki, make_pki
from sandbox.common.server import HOST, serve
from sandbox.control import Control
from sandbox.d1.acs.authenticators import Authenticators
from sandbox.d1.acs.challenges import Phones
from sandbox.d1.acs.control import AcsControl
from sandbox.d1.acs.purchases import Purchases
from sandbox.d1.api.token import AccessTokens
from sandbox.d1.callbacks.background import Background
from sandbox.d1.callbacks.edge import EdgeClient, EdgeCredentials
from sandbox.d1.callbacks.notifier import Notifier
from sandbox.d1.key_control import KeyControl
from sandbox.d1.model import contract
from sandbox.d1.model.contract import OUTBOUND_TIMEOUT_SECONDS, CardProduct
from sandbox.d1.model.notification import History
from sandbox.d1.model.store import CardStore
from sandbox.d1.simulator import D1
from sandbox.threeds.contract import DELAYS, Delays
from sandbox.threeds.control import ThreeDSControl
from sandbox.threeds.simulator import ThreeDS
from sandbox.threeds.store import Transactions

__all__ = ["ISSUER_ID", "PRODUCTS", "Sandbox"]

ISSUER_ID = "SANDBOX001"

PRODUCTS = (
    CardProduct("light", registers=True, transacts=False),
    CardProduct("light-transacting", registers=True, transacts=True),
    CardProduct("full", registers=False, transacts=True),
)
"""The card products that are set up: two whose cards may be registered, one whose cards can only be created."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox."""

    issuer_id: str
    pki: Pki
    """The certificates and keys that the gateway needs to talk with it."""
    d1_url: str
    """Where D1 is: ``https://127.0.0.1:<port>``."""
    control_url: str
    """Where the control API is: ``http://127.0.0.1:<port>``."""
    threeds_url: str
    """Where the 3-D Secure server is: ``https://127.0.0.1:<port>``."""
    threeds_api_key: str
    """What its clients have to send in the header ``APIKey``."""
    store: CardStore
    tokens: AccessTokens
    transactions: Transactions
    """Those of the 3-D Secure server."""
    faults: Faults
    """The faults of D1 and of the 3-D Secure server."""
    edge: EdgeClient
    """With which D1 calls the gateway's edge."""
    notifier: Notifier
    history: History
    """The 3DS operations that D1 keeps."""
    authenticators: Authenticators
    purchases: Purchases
    """Those at a simulated merchant, for which D1 is the ACS."""
    phones: Phones
    """Where D1's SMS go."""
    background: Background
    """What D1 does on its own, and what went wrong there."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        folder: Path,
        *,
        issuer_id: str = ISSUER_ID,
        products: Iterable[CardProduct] = PRODUCTS,
        d1_port: int = 0,
        threeds_port: int = 0,
        control_port: int = 0,
        edge_credentials: EdgeCredentials | None = None,
        edge_timeout_seconds: float = OUTBOUND_TIMEOUT_SECONDS,
        threeds_delays: Delays = DELAYS,
        clock: Callable[[], float] = time.time,
    ) -> AsyncIterator["Sandbox"]:
        """Run a sandbox for as long as the block lasts.

        Args:
            folder: Where the certificates and keys go.
            issuer_id: The only issuer that D1 knows, 10 characters.
            products: Its card products.
            d1_port: Where D1 listens; 0 for any free port.
            threeds_port: Where the 3-D Secure server listens; 0 for any free port.
            control_port: Where the control API listens; 0 for any free port.
            edge_credentials: With what D1 fetches tokens from the edge; None if mutual TLS alone was agreed.
            edge_timeout_seconds: How long the edge may take for an answer to D1.
            threeds_delays: How long some things take at the 3-D Secure server.
            clock: Tells the time, in seconds since 1970 (UTC).

        Raises:
            ValueError: The issuer's id is not as D1 gives it.
            OSError: A port is taken, or the folder cannot be written.
        """
        if not contract.ISSUER_ID.fullmatch(issuer_id):
            raise ValueError("issuer_id has to be 10 characters")
        pki = await asyncio.to_thread(make_pki, folder)
        faults = Faults()
        async with (
            D1.start(
                pki,
                issuer_id,
                products,
                faults,
                port=d1_port,
                edge_credentials=edge_credentials,
                edge_timeout_seconds=edge_timeout_seconds,
                clock=clock,
            ) as d1,
            ThreeDS.start(pki.threeds_server, faults, port=threeds_port, delays=threeds_delays, clock=clock) as threeds,
            serve(_control(d1, threeds, faults, clock).app(), control_port) as actual_control_port,
        ):
            yield cls._of(issuer_id, pki, d1, threeds, faults, f"http://{HOST}:{actual_control_port}")

    @classmethod
    def _of(cls, issuer_id: str, pki: Pki, d1: D1, threeds: ThreeDS, faults: Faults, control_url: str) -> Self:
        return cls(
            issuer_id=issuer_id,
            pki=pki,
            d1_url=d1.url,
            control_url=control_url,
            threeds_url=threeds.url,
            threeds_api_key=threeds.api_key,
            store=d1.store,
            tokens=d1.tokens,
            transactions=threeds.transactions,
            faults=faults,
            edge=d1.edge,
            notifier=d1.notifier,
            history=d1.history,
            authenticators=d1.authenticators,
            purchases=d1.purchases,
            phones=d1.phones,
            background=d1.background,
        )

    def set_edge(self, url: str, *others: str) -> None:
        """Tell D1 where the gateway's edge is, for example ``https://127.0.0.1:8443``; see `EdgeClient.set_edge`."""
        self.edge.set_edge(url, *others)


def _control(d1: D1, threeds: ThreeDS, faults: Faults, clock: Callable[[], float]) -> Control:
    return Control(
        d1.url,
        d1.store,
        d1.tokens,
        faults,
        d1.notifier,
        KeyControl(d1.keys),
        AcsControl(d1.purchases, d1.phones, d1.authenticators, d1.background),
        ThreeDSControl(threeds.url, threeds.transactions),
        clock,
    )
