"""The settings of the gateway, typed, with units in their names.

Settings come from a TOML file and from the environment, where ``D1_GATEWAY_D1__BASE_URL`` sets ``base_url`` of the
table ``[d1]``. The environment takes precedence. Unknown settings are rejected.
"""

from gateway.settings.audit import AuditSettings, read_audit_key
from gateway.settings.backfill import BackfillSettings
from gateway.settings.callbacks import (
    CallbackPolicySettings,
    CallbackReadSettings,
    CallbackSettings,
    ResultPollSettings,
)
from gateway.settings.listeners import (
    AccessSettings,
    AdminSettings,
    EdgeOAuthClientSettings,
    EdgeOAuthSettings,
    EdgeProxySettings,
    EdgeSettings,
    GrpcSettings,
    TokenSettings,
)
from gateway.settings.loading import FILE_VARIABLE, Settings, SettingsError, load
from gateway.settings.logging import LoggingSettings
from gateway.settings.private_files import PrivateFileError, read_private
from gateway.settings.storage import EventLogSettings, IdempotencySettings, NatsSettings
from gateway.settings.upstreams import (
    AggregatorSettings,
    AssertionKeySettings,
    D1EncryptionKeySettings,
    D1Settings,
    IssuerSettings,
    ThreeDSSettings,
    UpstreamSettings,
)

__all__ = [
    "FILE_VARIABLE",
    "AccessSettings",
    "AdminSettings",
    "AggregatorSettings",
    "AssertionKeySettings",
    "AuditSettings",
    "BackfillSettings",
    "CallbackPolicySettings",
    "CallbackReadSettings",
    "CallbackSettings",
    "D1EncryptionKeySettings",
    "D1Settings",
    "EdgeOAuthClientSettings",
    "EdgeOAuthSettings",
    "EdgeProxySettings",
    "EdgeSettings",
    "EventLogSettings",
    "GrpcSettings",
    "IdempotencySettings",
    "IssuerSettings",
    "LoggingSettings",
    "NatsSettings",
    "PrivateFileError",
    "ResultPollSettings",
    "Settings",
    "SettingsError",
    "ThreeDSSettings",
    "TokenSettings",
    "UpstreamSettings",
    "load",
    "read_audit_key",
    "read_private",
]
