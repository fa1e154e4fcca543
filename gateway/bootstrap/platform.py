"""The card platform: its API, and its callbacks.

No other module of the composition root knows which platform it is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
    MissedNotifications,
    OperationHistory,
)
from gateway.ports.meter import Unmeasured, UpstreamMeter
from gateway.settings import Settings, SettingsError
from gateway.tls.certificates import Certificates
from gateway.tls.probe import Failure, probe

__all__ = ["CardPlatform", "check", "connect", "trials"]

_Callbacks: TypeAlias = Callable[
    [Appendable, CallbackBus, AuthenticationResultStore, MissedNotifications | None], PlatformCallbacks
]


@dataclass(frozen=True, slots=True)
class CardPlatform:
    """A card platform's ports and callbacks."""

    cards: CardIssuer
    consumers: Consumers
    authenticators: Authenticators
    history: OperationHistory
    callbacks: _Callbacks
    """Creates the callbacks, from the event log, the bus to handlers, the results of authentications, and what takes
    the cards of missed notifications."""
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

    def callbacks(
        log: Appendable, bus: CallbackBus, results: AuthenticationResultStore, missed: MissedNotifications | None
    ) -> PlatformCallbacks:
        encryption = api.D1CardDataEncryption(keys)
        return d1_callbacks(
            issuers,
            log=log,
            bus=bus,
            results=results,
            encryption=encryption,
            settings=settings.callbacks,
            meter=meter,
            missed=missed,
            additional_banking_paths=settings.edge.additional_banking_paths,
        )

    async with _client(settings, keys, certificates, meter) as client:
        yield CardPlatform(
            cards=api.D1CardIssuer(client, meter),
            consumers=api.D1Consumers(client),
            authenticators=api.D1Authenticators(client),
            history=api.D1OperationHistory(client, meter),
            callbacks=callbacks,
            total_timeout_seconds=settings.d1.total_timeout_seconds,
        )


def trials(settings: Settings, certificates: Certificates) -> Iterator[tuple[str, Awaitable[Failure | None]]]:
    """Return what there is to try at the platform: TLS with each client certificate, and each access token.

    Raises:
        SettingsError: A key cannot be used.
    """
    d1, keys = settings.d1, issuer_keys(settings)
    common = None if certificates.d1_common is None else {certificates.d1_common: "d1"}
    owners = (common or {}) | {
        certificate: f"issuers.{issuer_id}"
        for issuer_id, certificate in certificates.d1.items()
        if certificate is not certificates.d1_common
    }
    for certificate, table in owners.items():
        tls = certificate.context
        trial = probe(d1.base_url, tls, ca_setting="d1.tls_ca_file", seconds=d1.connect_timeout_seconds)
        yield f"D1 {d1.base_url} with the certificate of [{table}]", trial
    subjects = {issuer.aggregator or issuer_id: issuer_id for issuer_id, issuer in settings.issuers.items()}
    for subject, issuer_id in subjects.items():
        yield f"D1 access token of {subject}", _token_failure(settings, keys, certificates, issuer_id)


async def _token_failure(
    settings: Settings, keys: Mapping[str, api.IssuerKeys], certificates: Certificates, issuer_id: str
) -> Failure | None:
    async with _client(settings, keys, certificates, Unmeasured()) as client:
        refusal = await client.token_refusal(issuer_id)
    if not refusal:
        return None
    if refusal.startswith("HTTP "):
        advice = "check that D1 knows this key under its kid, the issuer's id, and this machine's clock"
    else:
        advice = "see the connection to D1"
    return Failure(refusal.rstrip("."), advice)


def _client(
    settings: Settings, keys: Mapping[str, api.IssuerKeys], certificates: Certificates, meter: UpstreamMeter
) -> AbstractAsyncContextManager[api.D1Client]:
    # Issuers with the same certificate keep sharing it.
    identities = {
        certificate: api.Identity(certificate.context, certificate.describe, is_common=certificate.is_common)
        for certificate in (*certificates.d1.values(), certificates.d1_common)
        if certificate is not None
    }
    return api.connect(
        settings.d1,
        keys,
        {issuer_id: identities[certificate] for issuer_id, certificate in certificates.d1.items()},
        meter,
        common=None if certificates.d1_common is None else identities[certificates.d1_common],
        assertion_audience=settings.d1.assertion_audience,
    )


def _check_paths(settings: Settings) -> None:
    if BANKING in settings.edge.additional_banking_paths:
        raise SettingsError([f"edge.additional_banking_paths: {BANKING} is served in any case"])
