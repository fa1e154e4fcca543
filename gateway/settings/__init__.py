"""Every setting of the gateway, typed, with its unit in its name.

Settings come from a TOML file and from the environment, where ``D1_GATEWAY_D1__BASE_URL`` stands for ``base_url`` in
the table ``[d1]``; the environment wins. An unknown setting is refused wherever it stands.
"""

from gateway.settings.cluster import NatsSettings
from gateway.settings.listeners import (
    AccessSettings,
    AdminSettings,
    EdgeOAuthSettings,
    EdgeProxySettings,
    EdgeSettings,
    GrpcSettings,
    TokenSettings,
)
from gateway.settings.loading import FILE_VARIABLE, Settings, SettingsError, load
from gateway.settings.upstreams import (
    AssertionKeySettings,
    D1EncryptionKeySettings,
    D1Settings,
    IssuerSettings,
    ThreeDSSettings,
)
from gateway.settings.work import (
    CallbackSettings,
    EventLogSettings,
    IdempotencySettings,
    LogSettings,
    QuestionSettings,
    ResultPollSettings,
)

__all__ = [
    "FILE_VARIABLE",
    "AccessSettings",
    "AdminSettings",
    "AssertionKeySettings",
    "CallbackSettings",
    "D1EncryptionKeySettings",
    "D1Settings",
    "EdgeOAuthSettings",
    "EdgeProxySettings",
    "EdgeSettings",
    "EventLogSettings",
    "GrpcSettings",
    "IdempotencySettings",
    "IssuerSettings",
    "LogSettings",
    "NatsSettings",
    "QuestionSettings",
    "ResultPollSettings",
    "Settings",
    "SettingsError",
    "ThreeDSSettings",
    "TokenSettings",
    "load",
]
