"""The storage that several gateways share: NATS with JetStream."""

from adapters.nats.callbacks import NatsLink
from adapters.nats.credentials import Credentials, CredentialsError
from adapters.nats.errors import NatsOpenError
from adapters.nats.log import NatsEventLog
from adapters.nats.settings import NatsSettings
from adapters.nats.storage import NatsStorage
from adapters.nats.store import NatsKeyValueStore

__all__ = [
    "Credentials",
    "CredentialsError",
    "NatsEventLog",
    "NatsKeyValueStore",
    "NatsLink",
    "NatsOpenError",
    "NatsSettings",
    "NatsStorage",
]
