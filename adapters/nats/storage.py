"""The storage: one connection, one stream and several buckets."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Self, TypeVar

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import EVENT_LOG, NatsError, NatsOpenError
from adapters.nats.event_log.event_log import NatsEventLog
from adapters.nats.event_log.subscriptions import Subscriptions
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.jetstream import JetStreamError, api_request, is_transient
from adapters.nats.jetstream.streams import Names, check_servers, explain, prepare
from adapters.nats.key_value_store import NatsKeyValueStore
from adapters.nats.leases.leases import NatsLeases
from gateway.ports import Damage, EventDamagedError, ReportProgress
from gateway.settings import EventLogSettings, NatsSettings

__all__ = ["NatsStorage"]

_OPEN_SECONDS: Final = 5.0
"""Time for servers that have just started to elect their leaders."""
_PAUSE_SECONDS: Final = 0.25
_MAX_EVENT_BYTES: Final = 1_048_576
_READ_SIZE: Final = 1000

_T = TypeVar("_T")


class NatsStorage:
    """An event log, a key-value store and leases that all gateways with the same prefix share."""

    def __init__(self, connection: Connection, names: Names, log: NatsEventLog, leases: NatsLeases) -> None:
        """Use `open`."""
        self.connection = connection
        """The connection to NATS, also for messages between gateways."""
        self.names = names
        """The names of the stream, the buckets and the subjects."""
        self.log = log
        """The event log."""
        self.key_value_store = NatsKeyValueStore(Bucket(connection, names.key_value_bucket))
        """The key-value store."""
        self.leases = leases
        """The leases of named subscriptions."""

    @classmethod
    async def open(
        cls,
        settings: NatsSettings,
        tls: ssl.SSLContext | None = None,
        *,
        retention: EventLogSettings | None = None,
        max_event_bytes: int = _MAX_EVENT_BYTES,
        creates: bool = True,
    ) -> Self:
        """Connect, and create the stream and the buckets if needed. Close it with `close`.

        Args:
            settings: The servers, and the prefix of all names.
            tls: For ``tls://``: the trusted CAs and our certificate.
            retention: Retention of events by age and size; None keeps them for ever.
            max_event_bytes: Maximum size of an event. The servers must accept messages of this size.
            creates: Whether there may be no event log yet.

        Raises:
            NatsOpenError: The servers are unreachable or unsuitable, or something else uses our names. The message
                says what to do.
        """
        connection = await Connection.open(settings, tls)
        try:
            await _retry(lambda: check_servers(connection, max_event_bytes), settings)
            return await cls._open(connection, settings, retention, creates=creates)
        except BaseException:
            await connection.close()
            raise

    @classmethod
    async def check(cls, settings: NatsSettings, tls: ssl.SSLContext | None, *, max_event_bytes: int) -> None:
        """Connect and check the servers and the account's JetStream, without creating anything; then disconnect.

        Raises:
            NatsOpenError: As `open`.
        """
        connection = await Connection.open(settings, tls)
        try:
            await _retry(lambda: check_servers(connection, max_event_bytes), settings)
        finally:
            await connection.close()

    @classmethod
    async def _open(
        cls, connection: Connection, settings: NatsSettings, retention: EventLogSettings | None, *, creates: bool
    ) -> Self:
        names = Names(settings.prefix)
        lineage = await _retry(lambda: prepare(connection, names, settings, retention, creates=creates), settings)
        subscriptions = Subscriptions(Bucket(connection, names.subscription_bucket))
        log = NatsEventLog(connection, names, lineage, subscriptions, settings.request_timeout_seconds)
        await _retry(log.verify, settings)
        leases = await _retry(lambda: NatsLeases.open(connection, names.lease_bucket), settings)
        log.start()
        return cls(connection, names, log, leases)

    def size_bytes(self) -> int:
        """Return the size of the events when the log's bounds were last read."""
        return self.log.size_bytes

    def free_bytes(self) -> None:
        """Return None: the servers know their disks."""

    async def find_damage(self, report: ReportProgress | None = None) -> Damage:
        """Read everything, and return what is damaged."""
        bounds = await self.log.bounds()
        after, events, skipped = bounds.trimmed_through, list[int](), list[int]()
        while after < bounds.last:
            if report is not None:
                report(after - bounds.trimmed_through, bounds.last - bounds.trimmed_through)
            try:
                read = await self.log.read(after, _READ_SIZE)
            except EventDamagedError as error:
                (skipped if error.is_skipped else events).append(error.sequence)
                after = error.sequence
            else:
                # Retention may remove what comes next while this reads.
                after = max(read.through, read.bounds.trimmed_through, after + 1)
        return Damage(events, skipped, ())

    async def renew_epoch(self) -> str:
        """Give the event log a new epoch, which running gateways adopt within seconds, and return it."""
        return await self.log.renew_epoch()

    async def trim_through(self, sequence: int, report: ReportProgress | None = None) -> None:
        """Remove the events up to a sequence of the log, at once. Gateways may run."""
        del report
        with EVENT_LOG.translated(is_change=True):
            # Up to, but not including, the one that it names.
            await api_request(self.connection, f"STREAM.PURGE.{self.names.event_stream}", {"seq": sequence + 1})

    async def close(self) -> None:
        """Release the leases, then disconnect. Calls that wait for appends raise EVENT_LOG_UNAVAILABLE."""
        await self.log.close()
        await self.leases.close()
        await self.connection.close()


async def _retry(work: Callable[[], Awaitable[_T]], settings: NatsSettings) -> _T:
    """Retry what servers that have just started may not be ready for."""
    deadline = asyncio.get_running_loop().time() + _OPEN_SECONDS
    while True:
        try:
            return await work()
        except NatsError as error:
            if asyncio.get_running_loop().time() > deadline or not _is_retryable(error):
                raise NatsOpenError(explain(error, settings)) from error
        await asyncio.sleep(_PAUSE_SECONDS)


def _is_retryable(error: NatsError) -> bool:
    # Servers that do not know each other yet appear to be too few.
    is_final = isinstance(error, JetStreamError) and error.number not in JetStreamError.TOO_FEW_SERVERS
    return is_transient(error) or not is_final
