"""The sandbox as a whole."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from sandbox.common.faults import Faults
from sandbox.common.pki import Pki, kept_pki, make_pki
from sandbox.common.server import HOST, serve
from sandbox.common.simulation import Simulation
from sandbox.common.state import MemoryState, State
from sandbox.common.tls import browser_context
from sandbox.console.console import Console
from sandbox.control import Control
from sandbox.d1.acs.authenticators import Authenticators
from sandbox.d1.acs.challenges import Phones
from sandbox.d1.acs.control import AcsControl
from sandbox.d1.acs.purchases import Purchases
from sandbox.d1.api.token import AccessTokens
from sandbox.d1.callbacks.background import Background
from sandbox.d1.callbacks.edge_client import EdgeClient, EdgeCredentials
from sandbox.d1.callbacks.notifier import Notifier
from sandbox.d1.key_control import KeyControl
from sandbox.d1.model import contract
from sandbox.d1.model.contract import OUTBOUND_TIMEOUT_SECONDS, CardProduct
from sandbox.d1.model.issuers import Issuers
from sandbox.d1.model.notification import History
from sandbox.d1.model.store import CardStore
from sandbox.d1.simulator import D1
from sandbox.fault_control import FaultControl
from sandbox.issuer import Issuer
from sandbox.issuer_control import IssuerControl
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
"""The card products: two whose cards may be registered, one whose cards can only be created."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox."""

    issuer_id: str
    pki: Pki
    """The certificates and keys that the gateway needs."""
    d1_url: str
    """D1's URL: ``https://127.0.0.1:<port>``."""
    control_url: str
    """The control API's URL: ``http://127.0.0.1:<port>``."""
    threeds_url: str
    """The 3-D Secure server's URL: ``https://127.0.0.1:<port>``."""
    threeds_api_key: str
    """The value that clients must send in the header ``APIKey``."""
    issuers: Issuers
    """The issuers that D1 knows; at first `issuer_id` alone."""
    store: CardStore
    tokens: AccessTokens
    transactions: Transactions
    """The transactions of the 3-D Secure server."""
    faults: Faults
    """The faults of D1 and of the 3-D Secure server."""
    edge: EdgeClient
    """Sends D1's notifications to the gateway's edge."""
    notifier: Notifier
    history: History
    """D1's stored 3DS operations."""
    authenticators: Authenticators
    purchases: Purchases
    """The purchases at a simulated merchant, with D1 as the ACS."""
    phones: Phones
    """The recipients of D1's SMS."""
    background: Background
    """D1's background work, and its failures."""
    issuer: Issuer
    """The issuer's own services; connected to a gateway by `Issuer.run` alone."""
    console: Console
    """The page at `control_url`; shows a gateway within `Console.connected`."""

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
        host: str = HOST,
        edge_credentials: EdgeCredentials | None = None,
        edge_timeout_seconds: float = OUTBOUND_TIMEOUT_SECONDS,
        threeds_delays: Delays = DELAYS,
        clock: Callable[[], float] = time.time,
        state: State | None = None,
    ) -> AsyncIterator["Sandbox"]:
        """Run a sandbox for the duration of the block.

        Args:
            folder: The folder of certificates and keys.
            issuer_id: The issuer that D1 knows and calls back for, 10 characters.
            products: The issuer's card products.
            d1_port: D1's port; 0 for any free port.
            threeds_port: The 3-D Secure server's port; 0 for any free port.
            control_port: The control API's port; 0 for any free port.
            host: The address that everything listens on. The URLs remain those of loopback.
            edge_credentials: D1's credentials for tokens of the edge; None for mutual TLS alone.
            edge_timeout_seconds: The edge's time limit for a response to D1.
            threeds_delays: Delays of the 3-D Secure server.
            clock: Returns the time, in seconds since 1970 (UTC).
            state: What the simulators remember; None for a state that ends with the sandbox, and new keys.

        Raises:
            ValueError: The issuer's id does not have 10 characters.
            OSError: A port is taken, or the folder is not writable.
        """
        if not contract.ISSUER_ID.fullmatch(issuer_id):
            raise ValueError("issuer_id must have 10 characters")
        # Not in a thread, which would write on after a cancellation, while the folder is deleted.
        pki = make_pki(folder) if state is None else kept_pki(folder)
        common = Simulation(Faults(clock), state or MemoryState(), clock, host)
        d1_starts = D1.start(pki, issuer_id, products, common, d1_port, edge_credentials, edge_timeout_seconds)
        threeds_starts = ThreeDS.start(pki.threeds_server, common, port=threeds_port, delays=threeds_delays)
        async with d1_starts as d1, threeds_starts as threeds:
            made = cls._of(issuer_id, pki, d1, threeds, common.faults, clock)
            async with serve(_control(made, d1, clock).app(), control_port, host=host) as actual_port:
                yield replace(made, control_url=f"http://{HOST}:{actual_port}")

    @classmethod
    def _of(
        cls, issuer_id: str, pki: Pki, d1: D1, threeds: ThreeDS, faults: Faults, clock: Callable[[], float]
    ) -> Self:
        issuer = Issuer(d1.store, d1.purchases, d1.phones, d1.background, faults, clock)
        threeds.acs.on_otp = issuer.send_otp
        return cls(
            issuer_id=issuer_id,
            pki=pki,
            d1_url=d1.url,
            control_url="",
            threeds_url=threeds.url,
            threeds_api_key=threeds.api_key,
            issuers=d1.issuers,
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
            issuer=issuer,
            console=Console(d1, threeds, issuer, faults, browser_context(pki.server_ca), clock),
        )

    def set_edge(self, url: str, *others: str) -> None:
        """Tell D1 the URL of the gateway's edge, for example ``https://127.0.0.1:8443``; see `EdgeClient.set_edge`."""
        self.edge.set_edge(url, *others)


def _control(sandbox: Sandbox, d1: D1, clock: Callable[[], float]) -> Control:
    return Control(
        sandbox.d1_url,
        sandbox.store,
        sandbox.tokens,
        FaultControl(sandbox.faults, sandbox.issuer.all_kinds),
        sandbox.edge,
        sandbox.notifier,
        KeyControl(d1.keys),
        AcsControl(sandbox.purchases, sandbox.phones, sandbox.authenticators, sandbox.background, sandbox.history),
        IssuerControl(sandbox.issuer),
        ThreeDSControl(sandbox.threeds_url, sandbox.transactions),
        sandbox.console,
        clock,
    )
