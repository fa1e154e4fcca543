"""The composition root: the one module that joins the gateway with its adapters."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from joserfc.jwk import ECKey

from adapters import d1, sqlite, threeds
from gateway import keys
from gateway.addresses import Addresses
from gateway.authentication_results import AuthenticationResults
from gateway.callbacks import Broker
from gateway.certificates import Certificates
from gateway.edge import guard as edge_guard
from gateway.edge.card_credentials import CardCredentialsQuestion
from gateway.edge.consumer_notifications import ConsumerNotifications
from gateway.edge.consumers import ConsumerQuestions
from gateway.edge.questions import Questions, Terms
from gateway.edge.server import Callbacks, EdgeServer
from gateway.edge.step_up import StepUp
from gateway.edge.telemetry import EdgeTelemetry
from gateway.edge.three_ds import ThreeDSNotifications
from gateway.idempotency import key_file
from gateway.idempotency.first_replies import FirstReplies
from gateway.idempotency.sealing import Sealing
from gateway.issuers import Issuers
from gateway.ports import CallbackBus, CardDataEncryption, KeyValueStore
from gateway.rpc import guard
from gateway.rpc.authentication import AuthenticationServicer, emv_violations
from gateway.rpc.callbacks import CallbackServicer
from gateway.rpc.cards import CardServicer
from gateway.rpc.consumers import ConsumerServicer
from gateway.rpc.interceptors import IdempotencyInterceptor, QuotaInterceptor, TelemetryInterceptor
from gateway.rpc.notifications import NotificationServicer
from gateway.rpc.operations import OperationServicer
from gateway.rpc.server import RpcServer
from gateway.rpc.services import Servicer
from gateway.server import Gateway
from gateway.settings import (
    AssertionKeySettings,
    CallbackSettings,
    D1EncryptionKeySettings,
    QuestionSettings,
    Settings,
    SettingsError,
    ThreeDSSettings,
)
from gateway.subscriptions import Watchers
from gateway.telemetry import tracing
from gateway.telemetry.admin import AdminServer
from gateway.telemetry.measured import MeasuredBus, MeasuredLog, Upstreams
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.readiness import Readiness
from gateway.telemetry.state import State
from gateway.telemetry.upstream import UpstreamMeter
from gateway.validation import Validation

__all__ = ["check", "running"]

_LEASE_MARGIN_SECONDS = 5.0
"""What a call may take beyond its time upstream, and by how much the clocks of two instances may differ."""


def check(settings: Settings) -> list[str]:
    """Load every key and certificate that the settings name, without starting anything.

    Returns:
        What is good for now, but not for long: a line each.

    Raises:
        SettingsError: Something cannot be used.
    """
    certificates = Certificates(settings)
    if mistakes := certificates.expired():
        raise SettingsError(mistakes)
    edge_guard.clients(settings.edge, certificates)
    _check_writable("event_log.path", settings.event_log.path.parent)
    guard.check(settings.access, settings.issuers)
    _issuer_keys(settings)
    if settings.idempotency.key_file is not None:
        key_file.load(settings.idempotency.key_file)
    if settings.threeds is not None:
        _threeds_settings(settings.threeds)
    if settings.edge.oauth is not None:
        edge_guard.tokens(settings.edge.oauth)
    return certificates.warnings()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Addresses]:
    """Run the gateway for as long as the context lasts; leaving it is a graceful shutdown.

    Raises:
        SettingsError: A key or certificate cannot be used, or the event log cannot be opened.
        OSError: A port cannot be had.
    """
    async with AsyncExitStack() as stack:
        metrics, traces = Metrics(), tracing.configured()
        stack.push_async_callback(asyncio.to_thread, traces.close)
        upstreams = Upstreams(metrics, traces)
        issuers = Issuers(settings.issuers)
        issuer_keys = _issuer_keys(settings)
        certificates = Certificates(settings)
        clients = edge_guard.clients(settings.edge, certificates)
        await stack.enter_async_context(certificates.followed())
        oauth = settings.edge.oauth
        tokens = None if oauth is None else edge_guard.tokens(oauth)
        client = await stack.enter_async_context(
            d1.connect(_d1_settings(settings), issuer_keys, certificates.d1, upstreams)
        )
        servicers = await _three_ds_server(stack, settings.threeds, certificates, issuers, upstreams)
        storage = await _open_storage(settings)
        stack.push_async_callback(storage.close)
        log, appended = storage.log, MeasuredLog(storage.log, metrics, traces)
        watchers, broker = Watchers(log), Broker(asyncio.get_running_loop())
        readiness = Readiness(log, storage.entries, lambda: upstreams.circuits)
        state = State(
            issuer_ids=settings.issuers,
            log=log,
            log_bytes=storage.size_bytes,
            broker=broker,
            watchers=watchers,
            certificate_expiries=lambda: certificates.expiry_times,
        )
        metrics.registry.register(state)
        admin = AdminServer(metrics.registry, state, readiness)
        stack.push_async_callback(admin.stop)
        admin_address = await admin.start(settings.admin.host, settings.admin.port)
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
        bus = MeasuredBus(broker, metrics, traces)
        questions = _questions(settings.callbacks, issuers, bus, results, d1.D1CardDataEncryption(issuer_keys))
        gateway = Gateway(
            rpc=RpcServer(
                servicers=servicers,
                validation=validation,
                telemetry=TelemetryInterceptor(issuers, metrics, traces),
                access=await stack.enter_async_context(guard.guarding(settings.access, settings.issuers)),
                quota=QuotaInterceptor(
                    max_calls=settings.grpc.max_calls_per_caller, max_streams=settings.grpc.max_streams_per_caller
                ),
                idempotency=IdempotencyInterceptor(await _first_replies(settings, storage.entries), issuers),
                host=settings.grpc.host,
                port=settings.grpc.port,
                credentials=certificates.grpc,
                max_message_bytes=settings.grpc.max_message_bytes,
            ),
            edge=EdgeServer(
                callbacks=(
                    ThreeDSNotifications(issuers, appended),
                    ConsumerNotifications(issuers, appended),
                    *questions,
                ),
                clients=clients,
                tokens=tokens,
                telemetry=EdgeTelemetry(issuers, metrics, traces),
                limits=edge_guard.limits(settings.edge),
                drain_grace_seconds=settings.drain_grace_seconds,
            ),
            edge_tls=certificates.edge,
            watchers=watchers,
            callbacks=callbacks,
            readiness=readiness,
            grpc_host=settings.grpc.host,
            edge_host=settings.edge.host,
            edge_port=settings.edge.port,
            admin=admin_address,
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
    stack: AsyncExitStack,
    settings: ThreeDSSettings | None,
    certificates: Certificates,
    issuers: Issuers,
    meter: UpstreamMeter,
) -> tuple[Servicer, ...]:
    if settings is None:
        return ()
    client = await stack.enter_async_context(threeds.connect(_threeds_settings(settings), certificates.threeds, meter))
    return (AuthenticationServicer(issuers, threeds.HttpThreeDSServer(client)),)


async def _open_storage(settings: Settings) -> sqlite.SqliteStorage:
    retention = sqlite.Retention(
        max_age_seconds=settings.event_log.retention_seconds, max_bytes=settings.event_log.retention_bytes
    )
    try:
        return await sqlite.SqliteStorage.open(settings.event_log.path, retention=retention)
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error


async def _first_replies(settings: Settings, store: KeyValueStore) -> FirstReplies:
    place, named = settings.event_log.path, settings.idempotency.key_file
    beside = place.with_name(f"{place.name}.key")
    load = partial(key_file.load_or_make, beside) if named is None else partial(key_file.load, named)
    key = await asyncio.to_thread(load)
    return FirstReplies(store, Sealing(key), lease_seconds=settings.d1.total_timeout_seconds + _LEASE_MARGIN_SECONDS)


def _d1_settings(settings: Settings) -> d1.D1Settings:
    return d1.D1Settings(
        base_url=settings.d1.base_url,
        connection_limit=settings.d1.max_connections,
        waiting_limit=settings.d1.max_waiting_requests,
        connect_timeout_seconds=settings.d1.connect_timeout_seconds,
        total_timeout_seconds=settings.d1.total_timeout_seconds,
        attempt_limit=settings.d1.max_attempts,
        circuit_failures=settings.d1.circuit_failures,
        circuit_pause_limit_seconds=settings.d1.circuit_max_pause_seconds,
        assertion_audience=settings.d1.assertion_audience,
    )


def _threeds_settings(settings: ThreeDSSettings) -> threeds.ThreeDSSettings:
    try:
        return threeds.ThreeDSSettings(
            base_url=settings.base_url,
            api_key=threeds.Secret(_api_key(settings)),
            connection_limit=settings.max_connections,
            waiting_limit=settings.max_waiting_requests,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            total_timeout_seconds=settings.total_timeout_seconds,
            attempt_limit=settings.max_attempts,
            circuit_failures=settings.circuit_failures,
            circuit_pause_limit_seconds=settings.circuit_max_pause_seconds,
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
        assertion_keys = [
            _assertion_key(f"{place}.assertion_keys.{number}", key) for number, key in enumerate(issuer.assertion_keys)
        ]
        encryption_keys = [
            _encryption_key(f"{place}.d1_encryption_keys.{number}", key)
            for number, key in enumerate(issuer.d1_encryption_keys)
        ]
        try:
            loaded[issuer_id] = d1.IssuerKeys(assertion_keys, encryption_keys)
        except ValueError as error:
            raise SettingsError([f"{place}: {error}"]) from error
    return loaded


def _assertion_key(place: str, settings: AssertionKeySettings) -> ECKey:
    passphrase = keys.read_passphrase(f"{place}.passphrase_file", settings.passphrase_file)
    return keys.load(f"{place}.file", settings.file, kid=settings.kid, private=True, passphrase=passphrase)


def _encryption_key(place: str, settings: D1EncryptionKeySettings) -> d1.EncryptionKey:
    key = keys.load(f"{place}.file", settings.file, kid=settings.kid, private=False)
    if settings.active_from is None:
        return d1.EncryptionKey(key)
    return d1.EncryptionKey(key, settings.active_from.timestamp())


def _check_writable(setting: str, folder: Path) -> None:
    try:
        # The only way to know: a file system may be read-only, whatever the folder's mode says.
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SettingsError([f"{setting}: the folder {folder} cannot be written: {error.strerror}"]) from error
