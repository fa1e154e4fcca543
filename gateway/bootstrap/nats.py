"""The parts that gateways share over NATS. Imported only if NATS is configured, because its client is an extra."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters import nats
from gateway.callbacks.broker import Broker
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.relay import Relay
from gateway.callbacks.tokens import CallbackTokens
from gateway.ports import Storage
from gateway.settings import NatsSettings, Settings, SettingsError
from gateway.tls.certificates import Certificates

__all__ = ["check_shared", "joined", "open_shared", "try_shared"]


def check_shared(settings: Settings, named: NatsSettings) -> None:
    """Check the settings without connecting; blocks.

    Raises:
        SettingsError: They cannot be used.
    """
    if settings.idempotency.key_file is None:
        advice = "create one (openssl rand -hex 32, mode 0600) and copy it to all of them"
        raise SettingsError([f"idempotency.key_file: gateways that share a store need the same key: {advice}"])
    if named.credentials_file is not None:
        try:
            nats.Credentials.load(named.credentials_file)
        except nats.CredentialsError as error:
            raise SettingsError([f"nats.credentials_file: {error}"]) from error


async def open_shared(
    settings: Settings, named: NatsSettings, certificates: Certificates, *, creates: bool = True
) -> nats.NatsStorage:
    """Connect to the shared storage, and create it if need be and allowed.

    Raises:
        SettingsError: There is none, or the servers cannot be reached, or cannot be used with the settings.
    """
    try:
        return await nats.NatsStorage.open(
            named,
            certificates.nats,
            retention=settings.event_log,
            max_event_bytes=settings.edge.max_event_bytes,
            creates=creates,
        )
    except nats.NatsOpenError as error:
        raise SettingsError([f"nats: {error}"]) from error


async def try_shared(settings: Settings, named: NatsSettings, certificates: Certificates) -> None:
    """Connect to the shared storage, and change nothing there.

    Raises:
        SettingsError: The servers cannot be reached, or cannot be used with the settings.
    """
    try:
        await nats.NatsStorage.check(named, certificates.nats, max_event_bytes=settings.edge.max_event_bytes)
    except nats.NatsOpenError as error:
        raise SettingsError([str(error)]) from error


@asynccontextmanager
async def joined(storage: Storage) -> AsyncIterator[tuple[Broker, Relay]]:
    """Join the cluster, in which any gateway's handlers reply to callbacks, for as long as the context lasts."""
    if not isinstance(storage, nats.NatsStorage):
        raise TypeError("gateways of a cluster communicate over the connection of their shared storage")
    gateway_id, loop = secrets.token_hex(8), asyncio.get_running_loop()
    broker = SharedBroker(loop, tokens=CallbackTokens(owner=gateway_id))
    link = nats.NatsLink(storage.connection, storage.names.prefix, gateway_id)
    relay = Relay(gateway_id, broker, loop, link)
    storage.connection.on_change(lambda is_connected: relay.linked() if is_connected else None)
    await link.start(relay.receive)
    relay.start()
    try:
        yield broker, relay
    finally:
        relay.stop()
        await link.close()
