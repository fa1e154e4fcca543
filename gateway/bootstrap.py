"""The composition root: the one module that joins the gateway with its adapters."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from adapters import d1, sqlite, threeds
from gateway import keys, tls
from gateway.addresses import Addresses
from gateway.edge.server import EdgeServer
from gateway.edge.three_ds import ThreeDSNotifications
from gateway.edge.tokens import Client, Tokens
from gateway.issuers import Issuers
from gateway.rpc.authentication import AuthenticationServicer
from gateway.rpc.cards import CardServicer
from gateway.rpc.notifications import NotificationServicer
from gateway.rpc.server import RpcServer
from gateway.server import Gateway
from gateway.settings import EdgeOAuthSettings, Settings, SettingsError, ThreeDSSettings
from gateway.subscriptions import Watchers

__all__ = ["check", "running"]


def check(settings: Settings) -> None:
    """Load every key and certificate that the settings name, without starting anything.

    Raises:
        SettingsError: One of them cannot be used.
    """
    tls.edge_context(settings.edge)
    tls.d1_context(settings.d1)
    tls.grpc_credentials(settings.grpc)
    _issuer_keys(settings)
    if settings.threeds is not None:
        tls.threeds_context(settings.threeds)
        _threeds_settings(settings.threeds)
    if settings.edge.oauth is not None:
        _tokens(settings.edge.oauth)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Addresses]:
    """Run the gateway for as long as the context lasts; leaving it is a graceful shutdown.

    Raises:
        SettingsError: A key or certificate cannot be used, or the event log cannot be opened.
        OSError: A port cannot be had.
    """
    async with AsyncExitStack() as stack:
        issuers = Issuers(settings.issuers)
        issuer_keys = _issuer_keys(settings)
        edge_tls = tls.edge_context(settings.edge)
        oauth = settings.edge.oauth
        tokens = None if oauth is None else _tokens(oauth)
        credentials = tls.grpc_credentials(settings.grpc)
        client = await stack.enter_async_context(
            d1.connect(_d1_settings(settings), issuer_keys, tls.d1_context(settings.d1))
        )
        authentication = await _authentication(stack, settings.threeds, issuers)
        log = await _open_log(settings)
        stack.push_async_callback(log.close)
        watchers = Watchers(log)
        gateway = Gateway(
            rpc=RpcServer(
                cards=CardServicer(issuers, d1.D1CardIssuer(client)),
                notifications_=NotificationServicer(issuers, log, watchers),
                authentication=authentication,
                host=settings.grpc.host,
                port=settings.grpc.port,
                credentials=credentials,
                max_message_bytes=settings.grpc.max_message_bytes,
            ),
            edge=EdgeServer(
                notifications=ThreeDSNotifications(issuers, log),
                tokens=tokens,
                max_body_bytes=settings.edge.max_body_bytes,
                drain_grace_seconds=settings.drain_grace_seconds,
            ),
            edge_tls=edge_tls,
            watchers=watchers,
            grpc_host=settings.grpc.host,
            edge_host=settings.edge.host,
            edge_port=settings.edge.port,
            drain_grace_seconds=settings.drain_grace_seconds,
        )
        addresses = await gateway.start()
        stack.push_async_callback(gateway.stop)
        yield addresses


async def _authentication(
    stack: AsyncExitStack, settings: ThreeDSSettings | None, issuers: Issuers
) -> AuthenticationServicer | None:
    if settings is None:
        return None
    client = await stack.enter_async_context(
        threeds.connect(_threeds_settings(settings), tls.threeds_context(settings))
    )
    return AuthenticationServicer(issuers, threeds.HttpThreeDSServer(client))


async def _open_log(settings: Settings) -> sqlite.SqliteEventLog:
    retention = sqlite.Retention(
        max_age_seconds=settings.event_log.retention_seconds, max_bytes=settings.event_log.retention_bytes
    )
    try:
        return await sqlite.SqliteEventLog.open(settings.event_log.path, retention=retention)
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error


def _d1_settings(settings: Settings) -> d1.D1Settings:
    return d1.D1Settings(
        base_url=settings.d1.base_url,
        connection_limit=settings.d1.max_connections,
        connect_timeout_seconds=settings.d1.connect_timeout_seconds,
        total_timeout_seconds=settings.d1.total_timeout_seconds,
        assertion_audience=settings.d1.assertion_audience,
    )


def _threeds_settings(settings: ThreeDSSettings) -> threeds.ThreeDSSettings:
    try:
        return threeds.ThreeDSSettings(
            base_url=settings.base_url,
            api_key=threeds.Secret(_api_key(settings)),
            connection_limit=settings.max_connections,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            total_timeout_seconds=settings.total_timeout_seconds,
        )
    except (OSError, ValueError) as error:
        raise SettingsError([f"threeds: {error}"]) from error


def _api_key(settings: ThreeDSSettings) -> str:
    if settings.api_key_file is not None:
        return settings.api_key_file.read_text(encoding="utf-8").strip()
    return settings.api_key.get_secret_value() if settings.api_key is not None else ""


def _issuer_keys(settings: Settings) -> dict[str, d1.IssuerKeys]:
    loaded = {}
    for issuer_id, issuer in settings.issuers.items():
        place = f"issuers.{issuer_id}"
        assertion_key = keys.load(
            f"{place}.assertion_key_file", issuer.assertion_key_file, kid=issuer.assertion_key_id, private=True
        )
        encryption_key = keys.load(
            f"{place}.d1_encryption_key_file",
            issuer.d1_encryption_key_file,
            kid=issuer.d1_encryption_key_id,
            private=False,
        )
        try:
            loaded[issuer_id] = d1.IssuerKeys(assertion_key, encryption_key)
        except ValueError as error:
            raise SettingsError([f"{place}: {error}"]) from error
    return loaded


def _tokens(oauth: EdgeOAuthSettings) -> Tokens:
    return Tokens(
        keys.load("edge.oauth.signing_key_file", oauth.signing_key_file, private=True),
        client=Client(oauth.client_id, oauth.client_secret_sha256, oauth.scope),
        lifetime_seconds=oauth.token_lifetime_seconds,
    )
