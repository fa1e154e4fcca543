"""Assembles access control for the gRPC services from the settings."""

import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.auth import jwks
from gateway.auth.caller import Callers
from gateway.auth.jwks_sources import FileSource, Source, SourceError, url_source
from gateway.auth.jwt import TokenVerifier
from gateway.auth.policy import Vocabulary, rpcs_of
from gateway.auth.policy_file import PolicyFile
from gateway.grpc_api import reflection
from gateway.grpc_api.interceptors import AccessInterceptor
from gateway.grpc_api.server import SERVICES
from gateway.settings import AccessSettings, SettingsError, TokenSettings
from gateway.tls.file_watcher import CHECK_SECONDS

__all__ = ["check", "opened"]


def check(settings: AccessSettings, issuer_ids: Collection[str]) -> None:
    """Load the policy and the JWKS file.

    Raises:
        SettingsError: One of them cannot be used.
    """
    _policy(settings, issuer_ids)
    tokens = settings.tokens
    if tokens is not None and tokens.jwks_file is not None:
        try:
            keys = jwks.parse(tokens.jwks_file.read_bytes(), tokens.algorithms)
        except (OSError, SourceError) as error:
            raise SettingsError([f"access.tokens.jwks_file: {error}"]) from error
        if not keys:
            raise SettingsError([f"access.tokens.jwks_file: {tokens.jwks_file} holds no usable key"])


@asynccontextmanager
async def opened(
    settings: AccessSettings, issuer_ids: Collection[str], jwks_tls: ssl.SSLContext | None
) -> AsyncIterator[AccessInterceptor]:
    """Provide the access interceptor, with its policy and keys kept up to date, for as long as the context lasts.

    Args:
        settings: Policy and tokens.
        issuer_ids: The configured issuers.
        jwks_tls: For connections to the JWKS server; None if no URL is set.

    Raises:
        SettingsError: The policy cannot be used.
    """
    async with AsyncExitStack() as stack:
        tokens = None if settings.tokens is None else await _verifier(stack, settings.tokens, jwks_tls)
        policy = _policy(settings, issuer_ids)
        await stack.enter_async_context(policy.followed())
        yield AccessInterceptor(Callers(tokens), policy)


def _policy(settings: AccessSettings, issuer_ids: Collection[str]) -> PolicyFile:
    # All services, not only this instance's, so that one policy fits every instance.
    names = (*SERVICES, *reflection.SERVICES)
    return PolicyFile(settings.policy_file, Vocabulary(rpcs_of(names), issuer_ids))


async def _verifier(stack: AsyncExitStack, settings: TokenSettings, jwks_tls: ssl.SSLContext | None) -> TokenVerifier:
    source: Source
    if settings.jwks_url is not None and jwks_tls is not None:
        source = await stack.enter_async_context(url_source(settings.jwks_url, jwks_tls))
        age_seconds = settings.jwks_refresh_seconds
    elif settings.jwks_file is not None:
        source, age_seconds = FileSource(settings.jwks_file), CHECK_SECONDS
    else:
        raise SettingsError(["access.tokens: set jwks_file or jwks_url"])
    keys = jwks.Jwks(source, settings.algorithms)
    await stack.enter_async_context(keys.kept_fresh(age_seconds))
    return TokenVerifier(
        keys, issuer=settings.issuer, audience=settings.audience, leeway_seconds=settings.leeway_seconds
    )
