"""What the gateway asks of the outside. Adapters implement these protocols; the gateway imports nothing else of them.

The protobuf messages are the model: a port takes and returns them.
"""

from gateway.ports.callbacks import AuthenticationResultStore, CallbackBus
from gateway.ports.event_log import (
    Appendable,
    Event,
    EventLog,
    LogBounds,
    Read,
    Scope,
    StoredEvent,
    StoredSubscription,
)
from gateway.ports.storage import Engine, KeyValueStore, Lease, Storage, SubscriptionLeases
from gateway.ports.upstreams import (
    Authenticators,
    Call,
    CardDataEncryption,
    CardIssuer,
    Consumers,
    HistoryPage,
    OperationHistory,
    ThreeDSServer,
)

__all__ = [
    "Appendable",
    "AuthenticationResultStore",
    "Authenticators",
    "Call",
    "CallbackBus",
    "CardDataEncryption",
    "CardIssuer",
    "Consumers",
    "Engine",
    "Event",
    "EventLog",
    "HistoryPage",
    "KeyValueStore",
    "Lease",
    "LogBounds",
    "OperationHistory",
    "Read",
    "Scope",
    "Storage",
    "StoredEvent",
    "StoredSubscription",
    "SubscriptionLeases",
    "ThreeDSServer",
]
