"""Tries the connections that the settings name, as ``config check --connect`` does. Nothing is changed anywhere."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.auth import jwks
from gateway.auth.jwks_sources import SourceError, url_source
from gateway.bootstrap import platform as card_platform
from gateway.settings import NatsSettings, Settings, SettingsError, TokenSettings
from gateway.telemetry import tracing
from gateway.tls.certificates import Certificates
from gateway.tls.probe import Failure, probe

__all__ = ["Trial", "tried"]

_SECONDS: Final = 5.0
"""Time for what has no time limit in the settings."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A connection that was tried."""

    what: str
    failure: Failure | None
    """None if it can be used."""


async def tried(settings: Settings) -> Sequence[Trial]:
    """Try all connections at once.

    Raises:
        SettingsError: A file cannot be used.
    """
    certificates = await asyncio.to_thread(Certificates, settings)
    return await asyncio.gather(*_trials(settings, certificates))


def _trials(settings: Settings, certificates: Certificates) -> Iterator[Awaitable[Trial]]:
    for what, trial in card_platform.trials(settings, certificates):
        yield _trial(what, trial)
    threeds = settings.threeds
    if threeds is not None:
        trial = probe(
            threeds.base_url,
            certificates.threeds if threeds.base_url.startswith("https:") else None,
            ca_setting="threeds.tls_ca_file",
            seconds=threeds.connect_timeout_seconds,
        )
        yield _trial(f"3-D Secure server {threeds.base_url}", trial)
    if settings.nats is not None:
        yield _trial(f"NATS {', '.join(settings.nats.servers)}", _nats(settings, settings.nats, certificates))
    tokens = settings.access.tokens
    if tokens is not None and tokens.jwks_url is not None and certificates.tokens is not None:
        # The query may be a secret.
        what = f"JWKS {tokens.jwks_url.partition('?')[0]}"
        yield _trial(what, _jwks(tokens, tokens.jwks_url, certificates.tokens))
    endpoint = tracing.endpoint()
    if endpoint is not None:
        # Without a user, a password or a query, which may be secrets.
        parts = urlsplit(endpoint)
        yield _trial(f"OTLP {parts.scheme}://{parts.netloc.rpartition('@')[2]}", _otlp(endpoint))


async def _trial(what: str, trial: Awaitable[Failure | None]) -> Trial:
    return Trial(what, await trial)


async def _nats(settings: Settings, named: NatsSettings, certificates: Certificates) -> Failure | None:
    from gateway.bootstrap.nats import try_shared  # noqa: PLC0415  the extra is optional

    try:
        await try_shared(settings, named, certificates)
    except SettingsError as error:
        return Failure(
            str(error), "check [nats]: servers, tls_ca_file, the client certificate or credentials_file, JetStream"
        )
    return None


async def _jwks(tokens: TokenSettings, url: str, tls: ssl.SSLContext) -> Failure | None:
    failure = await probe(
        url, tls if url.startswith("https:") else None, ca_setting="access.tokens.jwks_ca_file", seconds=_SECONDS
    )
    if failure is not None:
        return failure
    advice = "check access.tokens.jwks_url and algorithms"
    try:
        async with url_source(url, tls, total_timeout_seconds=_SECONDS) as source:
            if jwks.parse(await source.read() or b"", tokens.algorithms):
                return None
    except SourceError as error:
        return Failure(f"it has no JWK set: {error}", advice)
    return Failure("its JWK set has no usable key", advice)


async def _otlp(endpoint: str) -> Failure | None:
    if not tracing.can_export():
        return Failure("its exporter is not installed", "install d1-gateway[otel]")
    if not endpoint.startswith(("http://", "https://")):
        return Failure("it is not an http or https URL", "correct OTEL_EXPORTER_OTLP_ENDPOINT")
    setting = "OTEL_EXPORTER_OTLP_CERTIFICATE"
    try:
        tls = ssl.create_default_context(cafile=os.environ.get(setting)) if endpoint.startswith("https:") else None
    except OSError as error:
        return Failure(f"{setting} cannot be read: {error.strerror}", "name a file with PEM certificates")
    return await probe(endpoint, tls, ca_setting=setting, seconds=_SECONDS)
