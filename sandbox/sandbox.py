"""The sandbox as a whole: started, found, and stopped."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from joserfc.jwk import ECKey

from sandbox.d1 import contract
from sandbox.d1.app import make_d1_app
from sandbox.d1.cards import CardEndpoints
from sandbox.d1.contract import CardProduct
from sandbox.d1.control import Control
from sandbox.d1.notifier import EdgeCredentials, Notifier
from sandbox.d1.store import CardStore
from sandbox.d1.token import AccessTokens, AssertionVerifier, TokenEndpoint
from sandbox.faults import Faults
from sandbox.pki import Pki, make_pki
from sandbox.server import HOST, serve
from sandbox.threeds.app import make_threeds_app
from sandbox.threeds.contract import DELAYS, Delays
from sandbox.threeds.control import ThreeDSControl
from sandbox.threeds.store import Transactions
from sandbox.tls import client_context, server_context

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
    notifier: Notifier

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
            threeds_delays: How long some things take at the 3-D Secure server.
            clock: Tells the time, in seconds since 1970 (UTC).

        Raises:
            ValueError: The issuer's id is not as D1 gives it.
            OSError: A port is taken, or the folder cannot be written.
        """
        if not contract.ISSUER_ID.fullmatch(issuer_id):
            raise ValueError("issuer_id has to be 10 characters")
        pki = await asyncio.to_thread(make_pki, folder)
        assertion_key, encryption_key = _key(pki.assertion_public_key), _key(pki.encryption_key)
        store, tokens, faults = CardStore(products), AccessTokens(clock), Faults()
        verifier = AssertionVerifier(issuer_id, assertion_key, clock)
        cards = CardEndpoints(issuer_id, store, encryption_key)
        d1 = make_d1_app(TokenEndpoint(verifier, tokens), tokens, cards, faults)
        transactions, api_key = Transactions(clock), str(uuid.uuid4())
        threeds = make_threeds_app(transactions, api_key, threeds_delays, faults)
        async with AsyncExitStack() as running:
            server_tls = server_context(pki.d1_server, pki.gateway_client_ca)
            d1_url = f"https://{HOST}:{await running.enter_async_context(serve(d1, d1_port, server_tls))}"
            threeds_tls = server_context(pki.threeds_server)
            threeds_url = (
                f"https://{HOST}:{await running.enter_async_context(serve(threeds, threeds_port, threeds_tls))}"
            )
            client_tls = client_context(pki.d1_client, pki.server_ca)
            notifier = await running.enter_async_context(
                Notifier.run(client_tls, issuer_id, clock=clock, credentials=edge_credentials)
            )
            threeds_control = ThreeDSControl(threeds_url, transactions)
            control = Control(d1_url, store, tokens, faults, notifier, threeds_control, clock).app()
            control_url = f"http://{HOST}:{await running.enter_async_context(serve(control, control_port))}"
            yield cls(
                issuer_id=issuer_id,
                pki=pki,
                d1_url=d1_url,
                control_url=control_url,
                threeds_url=threeds_url,
                threeds_api_key=api_key,
                store=store,
                tokens=tokens,
                transactions=transactions,
                faults=faults,
                notifier=notifier,
            )

    def set_edge(self, url: str) -> None:
        """Tell D1 where the gateway's edge is, for example ``https://127.0.0.1:8443``."""
        self.notifier.set_edge(url)


def _key(path: Path) -> dict[str, ECKey]:
    key = ECKey.import_key(orjson.loads(path.read_bytes()))
    return {key.kid or "": key}
