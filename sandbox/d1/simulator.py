"""The D1 simulator as a whole."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

from aiohttp import web

from sandbox.common.pki import Pki
from sandbox.common.server import HOST, serve
from sandbox.common.simulation import Simulation
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
        common: Simulation,
        port: int,
        edge_credentials: EdgeCredentials | None,
        edge_timeout_seconds: float,
    ) -> AsyncIterator["D1"]:
        """Run D1 for the duration of the block.

        Args:
            pki: The certificates and keys.
            issuer_id: The issuer, at first the only one.
            products: The issuer's card products.
            common: What the simulators have in common.
            port: The port to listen on; 0 for any free port.
            edge_credentials: D1's credentials for tokens of the edge; None for mutual TLS alone.
            edge_timeout_seconds: The edge's time limit for a response.
        """
        client = client_context(pki.d1_client, pki.server_ca)
        async with (
            EdgeClient.run(
                client,
                issuer_id,
                clock=common.clock,
                credentials=edge_credentials,
                timeout_seconds=edge_timeout_seconds,
                faults=common.faults,
            ) as edge,
            Background.run() as background,
        ):
            made = cls._of(pki, issuer_id, CardStore(products, common.state), edge, background, common)
            tls = server_context(pki.d1_server, pki.gateway_client_ca)
            async with serve(_app(made, common), port, tls, host=common.host) as actual_port:
                yield replace(made, url=f"https://{HOST}:{actual_port}")

    @classmethod
    def _of(
        cls,
        pki: Pki,
        issuer_id: str,
        store: CardStore,
        edge: EdgeClient,
        background: Background,
        common: Simulation,
    ) -> Self:
        state, clock = common.state, common.clock
        keys, history, phones, notifier = D1Keys.of(pki), History(clock, state), Phones(), Notifier(edge)
        authenticators = Authenticators(store, notifier, background, clock, state)
        challenges = Challenges(edge, keys.encryption, store, phones, clock)
        return cls(
            url="",
            issuers=Issuers(issuer_id),
            store=store,
            tokens=AccessTokens(clock),
            keys=keys,
            history=history,
            authenticators=authenticators,
            phones=phones,
            purchases=Purchases(challenges, store, authenticators, history, notifier, background, clock=clock),
            edge=edge,
            notifier=notifier,
            background=background,
        )


def _app(d1: D1, common: Simulation) -> web.Application:
    encryption = d1.keys.encryption
    fetcher = CredentialsFetcher(d1.store, d1.edge, encryption, d1.background)
    routes = [
        *CardEndpoints(d1.issuers, d1.store, encryption, fetcher.fetch).routes(),
        *ConsumerEndpoints(d1.issuers, d1.store, d1.authenticators).routes(),
        *HistoryEndpoints(d1.issuers, d1.history, d1.store).routes(),
    ]
    verifier = AssertionVerifier(d1.issuers, d1.keys.assertion, common.clock)
    return make_d1_app(TokenEndpoint(verifier, d1.tokens), d1.tokens, routes, common.faults)
