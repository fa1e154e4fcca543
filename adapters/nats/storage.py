"""The storage as a whole: one connection, one stream and some buckets."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Self, TypeVar

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError, NatsOpenError
from adapters.nats.connection.subjects import Names
from adapters.nats.event_log.event_log import NatsEventLog
from adapters.nats.event_log.subscriptions import Subscriptions
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.jetstream import JetStreamError, may_pass
from adapters.nats.jetstream.streams import expect_capable, explain, prepare
from adapters.nats.key_value_store import NatsKeyValueStore
from adapters.nats.leases.leases import NatsLeases
from gateway.settings import EventLogSettings, NatsSettings

__all__ = ["NatsStorage"]

_OPEN_SECONDS: Final = 5.0
"""How long servers that have just been started may take to agree on their leaders."""
_PAUSE_SECONDS: Final = 0.25
_MAX_EVENT_BYTES: Final = 1_048_576

_T = TypeVar("_T")


class NatsStorage:
    """An event log, a key-value store and leases that all gateways with the same prefix share."""

    def __init__(self, connection: Connection, names: Names, log: NatsEventLog, leases: NatsLeases) -> None:
        """Use `open`."""
        self.connection = connection
        """The connection, for what else is said over it."""
        self.names = names
        """The names of all that is kept and said."""
        self.log = log
        """The event log."""
        self.key_value_store = NatsKeyValueStore(Bucket(connection, names.entry_bucket))
        """The key-value store."""
        self.leases = leases
        """Who watches named subscriptions."""

    @classmethod
    async def open(
        cls,
        settings: NatsSettings,
        tls: ssl.SSLContext | None = None,
        *,
        retention: EventLogSettings | None = None,
        max_event_bytes: int = _MAX_EVENT_BYTES,
    ) -> Self:
        """Connect, and make what is not there yet. Close it with `close`.

        Args:
            settings: Where the servers are, and how what is kept there is named.
            tls: For ``tls://``: whom we trust, and our certificate.
            retention: How long events are kept; None for ever.
            max_event_bytes: The largest event; the servers have to take messages of that size.

        Raises:
            NatsOpenError: The servers cannot be reached or used, or something else has our names. The message says
                what to do.
        """
        connection = await Connection.open(settings, tls)
        try:
            await _insist(lambda: expect_capable(connection, max_event_bytes), settings)
            return await cls._open(connection, settings, retention)
        except BaseException:
            await connection.close()
            raise

    @classmethod
    async def _open(cls, connection: Connection, settings: NatsSettings, retention: EventLogSettings | None) -> Self:
        names = Names(settings.prefix)
        lineage = await _insist(lambda: prepare(connection, names, settings, retention), settings)
        subscriptions = Subscriptions(Bucket(connection, names.subscription_bucket))
        log = NatsEventLog(connection, names, lineage, subscriptions, settings.request_timeout_seconds)
        await _insist(log.settle, settings)
        leases = await _insist(lambda: NatsLeases.open(connection, names.lease_bucket), settings)
        log.start()
        return cls(connection, names, log, leases)

    def size_bytes(self) -> int:
        """Tell how much space the events took when the log's bounds were looked at last."""
        return self.log.size_bytes

    async def close(self) -> None:
        """Give back what is held, then disconnect. Whoever waits for growth gets EVENT_LOG_UNAVAILABLE."""
        await self.log.close()
        await self.leases.close()
        await self.connection.close()


async def _insist(work: Callable[[], Awaitable[_T]], settings: NatsSettings) -> _T:
    """Do what servers that have just been started may not be ready for yet."""
    deadline = asyncio.get_running_loop().time() + _OPEN_SECONDS
    while True:
        try:
            return await work()
        except NatsError as error:
            if asyncio.get_running_loop().time() > deadline or not _may_pass(error):
                raise NatsOpenError(explain(error, settings)) from error
        await asyncio.sleep(_PAUSE_SECONDS)


def _may_pass(error: NatsError) -> bool:
    # Servers that do not know each other yet seem too few.
    is_refusal = isinstance(error, JetStreamError) and error.number not in JetStreamError.TOO_FEW_SERVERS
    return may_pass(error) or not is_refusal
