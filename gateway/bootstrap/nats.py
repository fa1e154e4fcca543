"""What several gateways share over NATS. Not imported where nothing is shared: the client of NATS is an extra."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters import nats
from gateway.callbacks.broker import Broker
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.relay import Relay
from gateway.callbacks.model import CallbackRegistry
from gateway.callbacks.tokens import CallbackTokens
from gateway.ports import Storage
from gateway.settings import NatsSettings, Settings, SettingsError
from gateway.tls.certificates import Certificates

__all__ = ["check_shared", "joined", "open_shared"]

_BYTES_OF_EVENT_PER_BYTE_OF_BODY = 8
"""What D1 adds beyond the contract is kept as a `Struct`, in which a short JSON value takes some times its length."""


def check_shared(settings: Settings, named: NatsSettings) -> None:
    """Look whether the settings can be used, without connecting. Blocks for as long as the disk takes.

    Raises:
        SettingsError: They cannot.
    """
    if settings.idempotency.key_file is None:
        advice = "make one (openssl rand -hex 32, mode 0600), and give it to each of them"
        raise SettingsError([f"idempotency.key_file: gateways that share a store need the same key: {advice}"])
    if named.credentials_file is not None:
        try:
            nats.Credentials.load(named.credentials_file)
        except nats.CredentialsError as error:
            raise SettingsError([f"nats.credentials_file: {error}"]) from error


async def open_shared(settings: Settings, named: NatsSettings, certificates: Certificates) -> nats.NatsStorage:
    """Connect.

    Raises:
        SettingsError: The servers cannot be reached or used as the settings are.
    """
    try:
        return await nats.NatsStorage.open(
            named,
            certificates.nats,
            retention=settings.event_log,
            max_event_bytes=settings.edge.max_body_bytes * _BYTES_OF_EVENT_PER_BYTE_OF_BODY,
        )
    except nats.NatsOpenError as error:
        raise SettingsError([f"nats: {error}"]) from error


@asynccontextmanager
async def joined(storage: Storage) -> AsyncIterator[tuple[Broker, CallbackRegistry]]:
    """Be one of the gateways that answer each other's questions, for as long as the context lasts.

    Args:
        storage: What `open_shared` returned.
    """
    if not isinstance(storage, nats.NatsStorage):
        raise TypeError("gateways reach each other over the connection of what they share")
    us, loop = secrets.token_hex(8), asyncio.get_running_loop()
    broker = SharedBroker(loop, tokens=CallbackTokens(owner=us))
    link = nats.NatsLink(storage.connection, storage.names.prefix, us)
    relay = Relay(us, broker, loop, link)
    storage.connection.on_change(lambda is_connected: relay.linked() if is_connected else None)
    await link.start(relay.receive)
    relay.start()
    try:
        yield broker, relay
    finally:
        relay.stop()
        await link.close()
