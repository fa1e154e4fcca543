"""The composition root: `running` says what happens at ``serve``, step by step.

The other modules of this room assemble parts of it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from adapters import threeds
from gateway.aio.sockets import Addresses
from gateway.auth.issuers import Issuers
from gateway.bootstrap import access
from gateway.bootstrap import edge as edge_parts
from gateway.bootstrap import platform as card_platform
from gateway.bootstrap.application import Gateway
from gateway.bootstrap.audit import Audit, check_audit, opened_audit
from gateway.bootstrap.backfill import Backfills, opened_backfills
from gateway.bootstrap.platform import CardPlatform
from gateway.bootstrap.storage import check_storage, open_storage, record_cipher
from gateway.callbacks.broker import Broker
from gateway.callbacks.model import CallbackRegistry, Membership
from gateway.callbacks.results import AuthenticationResults
from gateway.edge.auth_client_certificate import Clients
from gateway.edge.auth_tokens import Tokens
from gateway.edge.server import EdgeServer
from gateway.edge.telemetry import EdgeTelemetry
from gateway.grpc_api.interceptors import IdempotencyInterceptor, QuotaInterceptor, TelemetryInterceptor
from gateway.grpc_api.server import RpcServer, Servicer
from gateway.grpc_api.services.authentication import AuthenticationServicer, emv_violations
from gateway.grpc_api.services.backfills import OrderedBackfills
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.grpc_api.services.cards import CardServicer
from gateway.grpc_api.services.consumers import ConsumerServicer
from gateway.grpc_api.services.notifications import NotificationServicer
from gateway.grpc_api.services.operations import ThreeDSOperationServicer
from gateway.idempotency.encryption import RecordCipher
from gateway.idempotency.replies import IdempotencyOutcome, IdempotencyStore
from gateway.logging import setup
from gateway.notifications.watch import Watchers
from gateway.operators.page import OperatorsPage
from gateway.operators.snapshot import Sources
from gateway.ports import Storage
from gateway.settings import Settings, SettingsError
from gateway.telemetry import tracing
from gateway.telemetry.admin_server import AdminServer
from gateway.telemetry.collectors import State
from gateway.telemetry.instrumented import InstrumentedBus, InstrumentedLog, Upstreams, counting_cards
from gateway.telemetry.loop_lag import measuring_loop_lag
from gateway.telemetry.metrics import Metrics, by_outcome
from gateway.telemetry.readiness import Readiness
from gateway.tls.certificates import Certificates
from gateway.validation.validator import Validation

__all__ = ["check", "running"]

_LEASE_MARGIN_SECONDS = 5.0
"""Time of a call beyond its time limit upstream, and tolerated difference between the clocks of two instances."""


def check(settings: Settings) -> list[str]:
    """Load every key and certificate that the settings name, without starting anything.

    Returns:
        Warnings about certificates that expire soon.

    Raises:
        SettingsError: A setting, or a file that it names, cannot be used.
    """
    certificates = Certificates(settings)
    if mistakes := certificates.expired():
        raise SettingsError(mistakes)
    edge_parts.clients(settings.edge, certificates)
    check_storage(settings)
    check_audit(settings.audit)
    access.check(settings.access, settings.issuers)
    card_platform.check(settings)
    if settings.edge.oauth is not None:
        edge_parts.tokens(settings.edge.oauth)
    return certificates.warnings()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Addresses]:
    """Run the gateway for as long as the context lasts; leaving it drains the gateway.

    Raises:
        SettingsError: A key or certificate cannot be used, or the storage cannot be opened.
        OSError: A port is not available.
    """
    async with AsyncExitStack() as stack:
        base = await _load(stack, settings)
        platform = await stack.enter_async_context(
            card_platform.connect(settings, base.issuers, base.certificates, base.upstreams)
        )
        three_ds = await _connect_three_ds_server(stack, base)
        core = await _open_core(stack, base)
        backfills = await stack.enter_async_context(
            opened_backfills(settings, platform.history, core.storage, counting_cards(base.metrics))
        )
        audit = await stack.enter_async_context(opened_audit(settings.audit))
        readiness = Readiness(
            core.storage.log,
            core.storage.key_value_store,
            lambda: base.upstreams.circuits,
            counts_damage=base.settings.nats is None,
            audit_failure=audit.failure if audit is not None and audit.refuses_changes else None,
        )
        ordered = OrderedBackfills(backfills.on_demand)
        callbacks = CallbackServicer(base.issuers, core.registry, core.validation, base.metrics)
        admin_address = await _start_admin(stack, base, core, backfills, audit, readiness, callbacks)
        servicers = (
            *three_ds,
            callbacks,
            CardServicer(backfills.noting(platform.cards)),
            ConsumerServicer(platform.authenticators, platform.consumers, core.results),
            NotificationServicer(core.storage.log, core.watchers, ordered),
            ThreeDSOperationServicer(platform.history),
        )
        gateway = Gateway(
            settings=settings,
            rpc=await _rpc_server(stack, base, core, audit, servicers, platform.total_timeout_seconds),
            edge=_edge_server(base, core, platform, backfills),
            edge_tls=base.certificates.edge,
            watchers=core.watchers,
            backfills=ordered,
            callbacks=callbacks,
            readiness=readiness,
            admin=admin_address,
        )
        addresses = await gateway.start()
        stack.push_async_callback(gateway.stop)
        await stack.enter_async_context(backfills.running())
        yield addresses


@dataclass(frozen=True, slots=True)
class _Base:
    """What the settings name, loaded and validated; metrics and traces."""

    settings: Settings
    metrics: Metrics
    traces: tracing.Tracing
    upstreams: Upstreams
    issuers: Issuers
    certificates: Certificates
    clients: Clients
    tokens: Tokens | None


@dataclass(frozen=True, slots=True)
class _Core:
    """The storage, the key of its records, and what works on it: watchers, broker, results of authentications."""

    storage: Storage
    cipher: RecordCipher
    watchers: Watchers
    broker: Broker
    registry: CallbackRegistry
    membership: Membership | None
    results: AuthenticationResults
    validation: Validation


async def _load(stack: AsyncExitStack, settings: Settings) -> _Base:
    metrics, traces = Metrics(), tracing.configured()
    stack.push_async_callback(asyncio.to_thread, traces.close)
    certificates = Certificates(settings)
    clients = edge_parts.clients(settings.edge, certificates)
    await stack.enter_async_context(certificates.watched())
    oauth = settings.edge.oauth
    return _Base(
        settings=settings,
        metrics=metrics,
        traces=traces,
        upstreams=Upstreams(metrics, traces),
        issuers=Issuers(settings.issuers),
        certificates=certificates,
        clients=clients,
        tokens=None if oauth is None else edge_parts.tokens(oauth),
    )


async def _connect_three_ds_server(stack: AsyncExitStack, base: _Base) -> Sequence[Servicer]:
    settings = base.settings.threeds
    if settings is None:
        return ()
    client = await stack.enter_async_context(threeds.connect(settings, base.certificates.threeds, base.upstreams))
    if settings.api_key_file is not None:

        def renew() -> None:
            try:
                client.use(settings.read_api_key())
            except ValueError as error:
                raise SettingsError([f"threeds.api_key_file: {error}"]) from error

        base.certificates.file_watcher.add([settings.api_key_file], renew)
    return (AuthenticationServicer(threeds.HttpThreeDSServer(client)),)


async def _open_core(stack: AsyncExitStack, base: _Base) -> _Core:
    storage = await open_storage(base.settings, base.certificates)
    stack.push_async_callback(storage.close)
    cipher = await record_cipher(base.settings, storage.key_value_store)
    broker, registry, membership = await _start_broker(stack, base.settings, storage)
    return _Core(
        storage=storage,
        cipher=cipher,
        watchers=Watchers(storage.log, storage.leases),
        broker=broker,
        registry=registry,
        membership=membership,
        results=AuthenticationResults(
            storage.key_value_store, base.settings.callbacks.authentication_result_ttl_seconds
        ),
        validation=Validation(emv_violations),
    )


async def _start_broker(
    stack: AsyncExitStack, settings: Settings, storage: Storage
) -> tuple[Broker, CallbackRegistry, Membership | None]:
    if settings.nats is None:
        broker = Broker(asyncio.get_running_loop())
        return broker, broker, None
    from gateway.bootstrap.nats import joined  # noqa: PLC0415  the extra is optional

    broker, relay = await stack.enter_async_context(joined(storage))
    return broker, relay, relay


async def _start_admin(
    stack: AsyncExitStack,
    base: _Base,
    core: _Core,
    backfills: Backfills,
    audit: Audit | None,
    readiness: Readiness,
    callbacks: CallbackServicer,
) -> str:
    state = State(
        issuer_ids=base.settings.issuers,
        storage=core.storage,
        readiness=readiness,
        broker=core.broker,
        membership=core.membership,
        watchers=core.watchers,
        certificate_expiries=lambda: base.certificates.expiry_times,
        lost_line_count=lambda: setup.WRITER.lost_count,
        backfill=backfills.state,
        audit=None if audit is None else audit.trail,
    )
    base.metrics.registry.register(state)
    stack.enter_context(measuring_loop_lag(base.metrics))
    page = await _operators_page(stack, base, core, backfills, readiness, callbacks)
    admin = AdminServer(base.metrics.registry, state, readiness, page)
    stack.push_async_callback(admin.stop)
    return await admin.start(base.settings.admin.host, base.settings.admin.port)


async def _operators_page(
    stack: AsyncExitStack,
    base: _Base,
    core: _Core,
    backfills: Backfills,
    readiness: Readiness,
    callbacks: CallbackServicer,
) -> Sequence[web.RouteDef]:
    settings = base.settings
    if not settings.admin.operators_page:
        return ()
    sources = Sources(
        registry=base.metrics.registry,
        failures=base.metrics.failures,
        readiness=readiness,
        issuer_ids=tuple(settings.issuers),
        log=core.storage.log,
        log_bytes=core.storage.size_bytes,
        leases=core.storage.leases,
        watchers=core.watchers,
        broker=core.broker,
        handlers=lambda: callbacks.handlers,
        certificates=base.certificates,
        lost_line_count=lambda: setup.WRITER.lost_count,
        backfill=backfills.view,
        membership=core.membership,
    )
    page = OperatorsPage(sources, settings.admin.page_hosts)
    await stack.enter_async_context(page.recorded())
    return page.routes


async def _rpc_server(
    stack: AsyncExitStack,
    base: _Base,
    core: _Core,
    audit: Audit | None,
    servicers: Sequence[Servicer],
    call_seconds: float,
) -> RpcServer:
    settings, grpc = base.settings, base.settings.grpc
    idempotency_store = IdempotencyStore(
        core.storage.key_value_store,
        core.cipher,
        lease_seconds=call_seconds + _LEASE_MARGIN_SECONDS,
        is_shared=settings.nats is not None,
        on_outcome=by_outcome(base.metrics.idempotent_requests, IdempotencyOutcome),
    )
    stack.push_async_callback(idempotency_store.aclose)
    return RpcServer(
        servicers=servicers,
        issuers=base.issuers,
        validation=core.validation,
        telemetry=TelemetryInterceptor(base.issuers, base.metrics, base.traces),
        access=await stack.enter_async_context(
            access.opened(settings.access, settings.issuers, base.certificates.tokens)
        ),
        quota=QuotaInterceptor(max_calls=grpc.max_calls_per_caller, max_streams=grpc.max_streams_per_caller),
        idempotency=IdempotencyInterceptor(idempotency_store),
        audit=None if audit is None else audit.recorder,
        settings=grpc,
        credentials=base.certificates.grpc,
    )


def _edge_server(base: _Base, core: _Core, platform: CardPlatform, backfills: Backfills) -> EdgeServer:
    log = InstrumentedLog(core.storage.log, base.metrics, base.traces)
    bus = InstrumentedBus(core.broker, base.metrics, base.traces)
    callbacks = platform.callbacks(log, bus, core.results, backfills.notes)
    return EdgeServer(
        callbacks=callbacks,
        clients=base.clients,
        tokens=base.tokens,
        telemetry=EdgeTelemetry(base.issuers, base.metrics, base.traces),
        settings=base.settings.edge,
        drain_grace_seconds=base.settings.drain_grace_seconds,
    )
