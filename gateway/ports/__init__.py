"""What the gateway needs from outside. Adapters implement these protocols; the gateway knows nothing else of them.

The protobuf messages are the model: a port takes and returns them.
"""

from gateway.ports.backups import Backup, BackupDamagedError, BackupFailedError, BackupUnusableError
from gateway.ports.callbacks import (
    Attempts,
    AuthenticationResultStore,
    CallbackBus,
    CallbackOutcome,
    NoReply,
    outcome_of,
)
from gateway.ports.cards import Call, CardDataEncryption, CardIssuer
from gateway.ports.consumers import Authenticators, Consumers
from gateway.ports.event_log import (
    Appendable,
    Event,
    EventDamagedError,
    EventIdentity,
    EventKind,
    EventLog,
    LogBounds,
    Payloads,
    Read,
    Scope,
    StoredEvent,
    StoredSubscription,
)
from gateway.ports.history import HistoryPage, MissedNotifications, OperationHistory
from gateway.ports.storage import (
    LISTED_KEY,
    Damage,
    Engine,
    KeyValueStore,
    Lease,
    ReportProgress,
    Statistics,
    Storage,
    SubscriptionLeases,
)
from gateway.ports.threeds import ThreeDSServer

__all__ = [
    "LISTED_KEY",
    "Appendable",
    "Attempts",
    "AuthenticationResultStore",
    "Authenticators",
    "Backup",
    "BackupDamagedError",
    "BackupFailedError",
    "BackupUnusableError",
    "Call",
    "CallbackBus",
    "CallbackOutcome",
    "CardDataEncryption",
    "CardIssuer",
    "Consumers",
    "Damage",
    "Engine",
    "Event",
    "EventDamagedError",
    "EventIdentity",
    "EventKind",
    "EventLog",
    "HistoryPage",
    "KeyValueStore",
    "Lease",
    "LogBounds",
    "MissedNotifications",
    "NoReply",
    "OperationHistory",
    "Payloads",
    "Read",
    "ReportProgress",
    "Scope",
    "Statistics",
    "Storage",
    "StoredEvent",
    "StoredSubscription",
    "SubscriptionLeases",
    "ThreeDSServer",
    "outcome_of",
]
