"""The card platform: its API, and its callbacks.

No other module of the composition root knows which platform it is.
"""

from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from adapters.d1 import api
from adapters.d1.callbacks import d1_callbacks
from adapters.d1.callbacks.schema import BANKING
from gateway.bootstrap.upstreams import issuer_keys
from gateway.edge.platform import PlatformCallbacks
from gateway.ports import (
    Appendable,
    AuthenticationResultStore,
    Authenticators,
    CallbackBus,
    CardIssuer,
    Consumers,
    OperationHistory,
)
from gateway.ports.meter import UpstreamMeter
from gateway.settings import Settings, SettingsError
from gateway.tls.certificates import Certificates

__all__ = ["CardPlatform", "check", "connect"]

_Callbacks: TypeAlias = Callable[[Appendable, CallbackBus, AuthenticationResultStore], PlatformCallbacks]


@dataclass(frozen=True, slots=True)
class CardPlatform:
    """A card platform's ports and callbacks."""

    cards: CardIssuer
    consumers: Consumers
    authenticators: Authenticators
    history: OperationHistory
    callbacks: _Callbacks
    """Creates the callbacks, from the event log, the bus to handlers and the results of authentications."""
    total_timeout_seconds: float
    """Time limit of a call to the platform."""


def check(settings: Settings) -> None:
    """Load the platform's keys, and check where its callbacks are served.

    Raises:
        SettingsError: A key cannot be used, or a path is served twice.
    """
    issuer_keys(settings)
    _check_paths(settings)


@asynccontextmanager
async def connect(
    settings: Settings, issuers: Container[str], certificates: Certificates, meter: UpstreamMeter
) -> AsyncIterator[CardPlatform]:
    """Connect to the platform for as long as the context lasts.

    Raises:
        SettingsError: A key cannot be used, or a path is served twice.
    """
    keys = issuer_keys(settings)
    _check_paths(settings)

    def callbacks(log: Appendable, bus: CallbackBus, results: AuthenticationResultStore) -> PlatformCallbacks:
        encryption = api.D1CardDataEncryption(keys)
        return d1_callbacks(
            issuers,
            log=log,
            bus=bus,
            results=results,
            encryption=encryption,
            settings=settings.callbacks,
            meter=meter,
            additional_banking_paths=settings.edge.additional_banking_paths,
        )

    # Issuers with the same certificate keep sharing it.
    identities = {
        certificate: api.Identity(certificate.context, certificate.describe, is_common=certificate.is_common)
        for certificate in (*certificates.d1.values(), certificates.d1_common)
        if certificate is not None
    }
    async with api.connect(
        settings.d1,
        keys,
        {issuer_id: identities[certificate] for issuer_id, certificate in certificates.d1.items()},
        meter,
        common=None if certificates.d1_common is None else identities[certificates.d1_common],
        assertion_audience=settings.d1.assertion_audience,
    ) as client:
        yield CardPlatform(
            cards=api.D1CardIssuer(client, meter),
            consumers=api.D1Consumers(client),
            authenticators=api.D1Authenticators(client),
            history=api.D1OperationHistory(client, meter),
            callbacks=callbacks,
            total_timeout_seconds=settings.d1.total_timeout_seconds,
        )


def _check_paths(settings: Settings) -> None:
    if BANKING in settings.edge.additional_banking_paths:
        raise SettingsError([f"edge.additional_banking_paths: {BANKING} is served in any case"])
