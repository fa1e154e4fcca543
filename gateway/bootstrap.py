"""The composition root: the one module that joins the gateway with its adapters."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from adapters import d1, sqlite, threeds
from gateway import keys, tls
from gateway.addresses import Addresses
from gateway.authentication_results import AuthenticationResults
from gateway.callbacks import Broker
from gateway.edge.card_credentials import CardCredentialsQuestion
from gateway.edge.consumer_notifications import ConsumerNotifications
from gateway.edge.consumers import ConsumerQuestions
from gateway.edge.questions import Questions, Terms
from gateway.edge.server import Callbacks, EdgeServer
from gateway.edge.step_up import StepUp
from gateway.edge.three_ds import ThreeDSNotifications
from gateway.edge.tokens import Client, Tokens
from gateway.issuers import Issuers
from gateway.ports import CallbackBus, CardDataEncryption
from gateway.rpc.authentication import AuthenticationServicer, emv_violations
from gateway.rpc.callbacks import CallbackServicer
from gateway.rpc.cards import CardServicer
from gateway.rpc.consumers import ConsumerServicer
from gateway.rpc.notifications import NotificationServicer
from gateway.rpc.operations import OperationServicer
from gateway.rpc.server import RpcServer
from gateway.rpc.services import Servicer
from gateway.server import Gateway
from gateway.settings import (
    CallbackSettings,
    EdgeOAuthSettings,
    QuestionSettings,
    Settings,
    SettingsError,
    ThreeDSSettings,
)
from gateway.subscriptions import Watchers
from gateway.validation import Validation

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
        servicers = await _three_ds_server(stack, settings.threeds, issuers)
        storage = await _open_storage(settings)
        stack.push_async_callback(storage.close)
        log = storage.log
        watchers, broker = Watchers(log), Broker(asyncio.get_running_loop())
        results = AuthenticationResults(storage.entries, settings.callbacks.authentication_result_ttl_seconds)
        validation = Validation(emv_violations)
        callbacks = CallbackServicer(issuers, broker, validation)
        servicers += (
            callbacks,
            CardServicer(issuers, d1.D1CardIssuer(client)),
            ConsumerServicer(issuers, d1.D1Authenticators(client), d1.D1Consumers(client), results),
            NotificationServicer(issuers, log, watchers),
            OperationServicer(issuers, d1.D1OperationHistory(client)),
        )
        questions = _questions(settings.callbacks, issuers, broker, results, d1.D1CardDataEncryption(issuer_keys))
        gateway = Gateway(
            rpc=RpcServer(
                servicers=servicers,
                validation=validation,
                host=settings.grpc.host,
                port=settings.grpc.port,
                credentials=credentials,
                max_message_bytes=settings.grpc.max_message_bytes,
            ),
            edge=EdgeServer(
                callbacks=(ThreeDSNotifications(issuers, log), ConsumerNotifications(issuers, log), *questions),
                tokens=tokens,
                max_body_bytes=settings.edge.max_body_bytes,
                drain_grace_seconds=settings.drain_grace_seconds,
            ),
            edge_tls=edge_tls,
            watchers=watchers,
            callbacks=callbacks,
            grpc_host=settings.grpc.host,
            edge_host=settings.edge.host,
            edge_port=settings.edge.port,
            drain_grace_seconds=settings.drain_grace_seconds,
        )
        addresses = await gateway.start()
        stack.push_async_callback(gateway.stop)
        yield addresses


def _questions(
    settings: CallbackSettings,
    issuers: Issuers,
    bus: CallbackBus,
    results: AuthenticationResults,
    encryption: CardDataEncryption,
) -> Sequence[Callbacks]:
    questions = Questions(bus)
    poll = settings.authentication_result
    return (
        ConsumerQuestions(
            issuers, questions, information=_terms(settings.consumer_information), otp=_terms(settings.deliver_otp)
        ),
        StepUp(
            issuers,
            questions,
            results,
            authenticate=_terms(settings.authenticate),
            result=Terms(poll.deadline_seconds, poll.fallback_status or 500, poll.fallback_error),
            pending_without_reply=poll.fallback_status is None,
        ),
        CardCredentialsQuestion(issuers, questions, encryption, _terms(settings.card_credentials)),
    )


def _terms(settings: QuestionSettings) -> Terms:
    return Terms(settings.deadline_seconds, settings.fallback_status, settings.fallback_error)


async def _three_ds_server(
    stack: AsyncExitStack, settings: ThreeDSSettings | None, issuers: Issuers
) -> tuple[Servicer, ...]:
    if settings is None:
        return ()
    client = await stack.enter_async_context(
        threeds.connect(_threeds_settings(settings), tls.threeds_context(settings))
    )
    return (AuthenticationServicer(issuers, threeds.HttpThreeDSServer(client)),)


async def _open_storage(settings: Settings) -> sqlite.SqliteStorage:
    retention = sqlite.Retention(
        max_age_seconds=settings.event_log.retention_seconds, max_bytes=settings.event_log.retention_bytes
    )
    try:
        return await sqlite.SqliteStorage.open(settings.event_log.path, retention=retention)
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
