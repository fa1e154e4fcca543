"""The D1 simulator as a whole."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sandbox.common.faults import Faults
from sandbox.common.pki import Pki
from sandbox.common.server import HOST, serve
from sandbox.common.state import State
from sandbox.common.tls import client_context, server_context
from sandbox.d1.acs.authenticators import Authenticators
from sandbox.d1.acs.challenges import Challenges, Phones
from sandbox.d1.acs.purchases import Purchases
from sandbox.d1.api.cards import CardEndpoints
from sandbox.d1.api.consumers import ConsumerEndpoints
from sandbox.d1.api.history import HistoryEndpoints
from sandbox.d1.api.token import AccessTokens, AssertionVerifier, TokenEndpoint
from sandbox.d1.app import make_d1_app
from sandbox.d1.callbacks.background import Background
from sandbox.d1.callbacks.credentials_fetcher import CredentialsFetcher
from sandbox.d1.callbacks.edge_client import EdgeClient, EdgeCredentials
from sandbox.d1.callbacks.notifier import Notifier
from sandbox.d1.model.contract import CardProduct
from sandbox.d1.model.issuers import Issuers
from sandbox.d1.model.keys import D1Keys
from sandbox.d1.model.notification import History
from sandbox.d1.model.store import CardStore

__all__ = ["D1"]


@dataclass(frozen=True, slots=True)
class D1:
    """A running D1. It calls back for one issuer."""

    url: str
    """D1's URL: ``https://127.0.0.1:<port>``."""
    issuers: Issuers
    store: CardStore
    tokens: AccessTokens
    keys: D1Keys
    history: History
    authenticators: Authenticators
    phones: Phones
    purchases: Purchases
    edge: EdgeClient
    notifier: Notifier
    background: Background

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        pki: Pki,
        issuer_id: str,
        products: Iterable[CardProduct],
        faults: Faults,
        state: State,
        *,
        port: int,
        edge_credentials: EdgeCredentials | None,
        edge_timeout_seconds: float,
        clock: Callable[[], float],
    ) -> AsyncIterator["D1"]:
        """Run D1 for the duration of the block.

        Args:
            pki: The certificates and keys.
            issuer_id: The issuer, at first the only one.
            products: The issuer's card products.
            faults: The faults on demand.
            state: Keeps cards, consumers, history and authenticators.
            port: The port to listen on; 0 for any free port.
            edge_credentials: D1's credentials for tokens of the edge; None for mutual TLS alone.
            edge_timeout_seconds: The edge's time limit for a response.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        keys = D1Keys.of(pki)
        issuers = Issuers(issuer_id)
        verifier = AssertionVerifier(issuers, keys.assertion, clock)
        store, history = CardStore(products, state), History(clock, state)
        tokens, phones = AccessTokens(clock), Phones()
        async with AsyncExitStack() as running:
            edge = await running.enter_async_context(
                EdgeClient.run(
                    client_context(pki.d1_client, pki.server_ca),
                    issuer_id,
                    clock=clock,
                    credentials=edge_credentials,
                    timeout_seconds=edge_timeout_seconds,
                )
            )
            background = await running.enter_async_context(Background.run())
            notifier = Notifier(edge)
            authenticators = Authenticators(store, notifier, background, clock, state)
            challenges = Challenges(edge, keys.encryption, store, phones, clock)
            routes = [
                *CardEndpoints(
                    issuers,
                    store,
                    keys.encryption,
                    CredentialsFetcher(store, edge, keys.encryption, background).fetch,
                ).routes(),
                *ConsumerEndpoints(issuers, store, authenticators).routes(),
                *HistoryEndpoints(issuers, history, store).routes(),
            ]
            app = make_d1_app(TokenEndpoint(verifier, tokens), tokens, routes, faults)
            tls = server_context(pki.d1_server, pki.gateway_client_ca)
            yield cls(
                url=f"https://{HOST}:{await running.enter_async_context(serve(app, port, tls))}",
                issuers=issuers,
                store=store,
                tokens=tokens,
                keys=keys,
                history=history,
                authenticators=authenticators,
                phones=phones,
                purchases=Purchases(challenges, store, authenticators, history, notifier, background, clock=clock),
                edge=edge,
                notifier=notifier,
                background=background,
            )
