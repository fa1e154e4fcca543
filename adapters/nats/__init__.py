"""The storage that several gateways share: NATS with JetStream."""

from adapters.nats.callbacks.link import NatsLink
from adapters.nats.connection.dial import Credentials, CredentialsError
from adapters.nats.connection.errors import NatsOpenError
from adapters.nats.event_log.event_log import NatsEventLog
from adapters.nats.key_value_store import NatsKeyValueStore
from adapters.nats.storage import NatsStorage

__all__ = [
    "Credentials",
    "CredentialsError",
    "NatsEventLog",
    "NatsKeyValueStore",
    "NatsLink",
    "NatsOpenError",
    "NatsStorage",
]
