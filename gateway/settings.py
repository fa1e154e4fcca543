"""Every setting of the gateway, typed, with its unit in its name.

Settings come from a TOML file and from the environment, where ``D1_GATEWAY_D1__BASE_URL`` stands for ``base_url`` in
the table ``[d1]``; the environment wins. An unknown setting is refused wherever it stands.
"""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
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
    "QuestionSettings",
    "ResultPollSettings",
    "Settings",
    "SettingsError",
    "ThreeDSSettings",
    "TokenSettings",
    "load",
]

ENVIRONMENT_PREFIX = "D1_GATEWAY_"
FILE_VARIABLE = "D1_GATEWAY_CONFIG_FILE"
"""Names the TOML file; no setting itself."""

IssuerId = Annotated[str, StringConstraints(min_length=10, max_length=10)]
Algorithm = Literal["ES256", "PS256", "RS256", "EdDSA", "Ed25519"]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
KeyId = Annotated[str, StringConstraints(min_length=1)]

_Key = TypeVar("_Key")

_MOST_KEYS = 2
_SHA256 = re.compile("[0-9a-f]{64}")
_CONNECTS_TOO_LATE = "connect_timeout_seconds must not be longer than total_timeout_seconds"
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (looked for, not listened on)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _readable(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"the file {path} cannot be read")
    return path


def _private(path: Path) -> Path:
    if _readable(path).stat().st_mode & 0o077:
        raise ValueError(f"the file {path} can be read by others: chmod 600 it")
    return path


def _sha256(secret: SecretStr) -> SecretStr:
    if not _SHA256.fullmatch(secret.get_secret_value()):
        raise ValueError("it is no SHA-256 in lower-case hexadecimal")
    return secret


def _reachable(url: str) -> str:
    # Raises itself what is wrong with a port, or with the brackets of an IPv6 address.
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("it names no host and port that can be reached")
    return url


ReadableFile = Annotated[Path, AfterValidator(_readable)]
PrivateFile = Annotated[Path, AfterValidator(_private)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)


class GrpcSettings(_Table):
    """The listener for internal callers."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback only with TLS."""
    port: Port = 8443
    """TCP port; 0 takes a free one."""
    tls_certificate_file: ReadableFile | None = None
    """Server certificate with its chain, PEM. Without it the listener is plaintext, on loopback only."""
    tls_key_file: PrivateFile | None = None
    """Private key of the certificate, PEM."""
    tls_key_passphrase_file: PrivateFile | None = None
    """A file with the passphrase of that key and nothing else. None: the key is not encrypted."""
    tls_client_ca_file: ReadableFile | None = None
    """CA of the callers' certificates, PEM. With it every caller must present one."""
    max_message_bytes: Annotated[int, Field(ge=1024)] = 1_048_576
    """Largest request."""
    max_calls_per_caller: Annotated[int, Field(ge=1)] = 1000
    """Most calls without streams that one caller may have in flight; a further one is refused."""
    max_streams_per_caller: Annotated[int, Field(ge=1)] = 100
    """Most streams that one caller may have open; a further one is refused."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "GrpcSettings":
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file go together")
        if self.tls_key_passphrase_file is not None and self.tls_key_file is None:
            raise ValueError("tls_key_passphrase_file needs tls_key_file")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file needs tls_certificate_file and tls_key_file")
        if self.tls_certificate_file is None and not _is_loopback(self.host):
            raise ValueError(f"a listener without TLS must be on loopback, not on {self.host}")
        return self


class TokenSettings(_Table):
    """Bearer tokens of internal callers."""

    issuer: Annotated[str, StringConstraints(min_length=1)]
    """What `iss` has to be."""
    audience: Annotated[str, StringConstraints(min_length=1)] = "d1-gateway"
    """What `aud` has to be or to contain."""
    jwks_file: ReadableFile | None = None
    """The public keys that sign the tokens, a JWK set. Read again when it changes."""
    jwks_url: str | None = None
    """Where they are fetched: https; plain http only on loopback."""
    jwks_ca_file: ReadableFile | None = None
    """CA of that server's certificate, PEM. None: the system's."""
    jwks_refresh_seconds: Annotated[float, Field(ge=10, allow_inf_nan=False)] = 300.0
    """How often they are fetched; for an unknown key besides, at most every 30 s."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("ES256", "PS256", "RS256", "EdDSA")
    """The signature algorithms that are taken."""
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    """By how much the clock of who signs may differ."""

    @model_validator(mode="after")
    def _one_source(self) -> "TokenSettings":
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("set either jwks_file or jwks_url")
        if self.jwks_ca_file is not None and self.jwks_url is None:
            raise ValueError("jwks_ca_file goes with jwks_url")
        return self


class AccessSettings(_Table):
    """Which internal callers may call what."""

    policy_file: ReadableFile
    """Grants callers their rpcs and issuers, TOML; see docs/access.md. Read again when it changes."""
    tokens: TokenSettings | None = None
    """Set where callers show bearer tokens. Otherwise their client certificates tell who they are."""


class EdgeOAuthSettings(_Table):
    """The token endpoint for D1, and the bearer token that every callback then has to carry."""

    client_id: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^:]+$")]
    """The client id agreed with D1."""
    client_secret_sha256: Annotated[SecretStr, AfterValidator(_sha256)]
    """SHA-256 of the client secret agreed with D1, in lower-case hexadecimal; the secret itself is not kept."""
    scope: str = ""
    """The scope agreed with D1: names separated by spaces; empty if none was."""
    signing_key_file: PrivateFile
    """Private key that signs the tokens: EC P-256, PEM or JWK."""
    signing_key_passphrase_file: PrivateFile | None = None
    """A file with the passphrase of that key and nothing else. None: the key is not encrypted."""
    verification_key_files: tuple[ReadableFile, ...] = ()
    """Public keys whose tokens are taken besides, PEM or JWK: the next and the last signing key, during a rotation."""
    token_lifetime_seconds: Annotated[int, Field(ge=60, le=3600)] = 900
    """How long a token is good for."""


class EdgeProxySettings(_Table):
    """A proxy that ends D1's TLS connections and hands on D1's certificate in the header `Client-Cert` (RFC 9440)."""

    networks: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], Field(min_length=1)]
    """Where it connects from, and nobody else: what comes from there is believed. For example `["10.1.2.3/32"]`."""


class EdgeSettings(_Table):
    """The HTTPS listener for D1's callbacks."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 9443
    """TCP port; 0 takes a free one."""
    tls_certificate_file: ReadableFile
    """Server certificate with its chain, PEM."""
    tls_key_file: PrivateFile
    """Private key of the certificate, PEM."""
    tls_key_passphrase_file: PrivateFile | None = None
    """A file with the passphrase of that key and nothing else. None: the key is not encrypted."""
    tls_client_ca_file: ReadableFile
    """CA of D1's client certificate, PEM. A client without a certificate of it gets no connection."""
    tls_client_subjects: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Whose certificates of that CA are taken: common names or subject alternative names, exactly. Empty: all."""
    proxy: EdgeProxySettings | None = None
    """Set where a proxy ends D1's TLS connections."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 65_536
    """Largest body; a larger one is answered 413."""
    max_connections: Annotated[int, Field(ge=1)] = 1000
    """Most connections at a time; a further one is closed at once."""
    request_timeout_seconds: Seconds = 10.0
    """How long the TLS handshake, the head of a request and its body may each take."""
    idle_timeout_seconds: Seconds = 75.0
    """How long a connection is kept without a request."""
    oauth: EdgeOAuthSettings | None = None
    """Set where bearer tokens were agreed with D1."""


class D1Settings(_Table):
    """The connection to D1."""

    base_url: Annotated[str, StringConstraints(pattern=r"^https://[^/\s?#@]+$"), AfterValidator(_reachable)] = (
        "https://api.d1.thalescloud.io"
    )
    """D1's address, without a path."""
    tls_ca_file: ReadableFile | None = None
    """CA of D1's server certificate, PEM. None: the system's."""
    tls_certificate_file: ReadableFile
    """Our client certificate, signed by Thales, PEM."""
    tls_key_file: PrivateFile
    """Private key of our client certificate, PEM."""
    tls_key_passphrase_file: PrivateFile | None = None
    """A file with the passphrase of that key and nothing else. None: the key is not encrypted."""
    assertion_audience: str | None = "https://api.d1.thalescloud.io"
    """The `aud` claim of our assertions. None: the claim is left out."""
    connect_timeout_seconds: Seconds = 2.0
    """How long a connection may take to come about, TLS included."""
    total_timeout_seconds: Seconds = 10.0
    """How long a call may take where the caller sets no shorter deadline."""
    max_connections: Annotated[int, Field(ge=1)] = 64
    """Most connections, and so most requests, at a time; further ones wait in line."""
    max_waiting_requests: Annotated[int, Field(ge=0)] = 1000
    """Most requests in that line; a further one is refused at once."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Most attempts at a call where it is safe to make it again; 1 to never repeat one."""
    circuit_failures: Annotated[int, Field(ge=1)] = 10
    """After how many failures in a row no request is sent for a moment."""
    circuit_max_pause_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """How long such a moment lasts at most; so long may pass until a recovery is noticed."""

    @model_validator(mode="after")
    def _connects_in_time(self) -> "D1Settings":
        if self.connect_timeout_seconds > self.total_timeout_seconds:
            raise ValueError(_CONNECTS_TOO_LATE)
        return self


class ThreeDSSettings(_Table):
    """The connection to the 3-D Secure server."""

    base_url: Annotated[
        str,
        StringConstraints(pattern=r"^(https://[^/\s?#@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)$"),
        AfterValidator(_reachable),
    ]
    """The server's address, without a path: of its sandbox or of production. Plain HTTP only on loopback."""
    api_key: SecretStr | None = None
    """The API key, where it comes from the environment."""
    api_key_file: PrivateFile | None = None
    """A file with the API key and nothing else."""
    tls_ca_file: ReadableFile | None = None
    """CA of the server's certificate, PEM. None: the system's."""
    connect_timeout_seconds: Seconds = 2.0
    """How long a connection may take to come about, TLS included."""
    total_timeout_seconds: Seconds = 11.0
    """How long a call may take where the caller sets no shorter deadline. The server itself gives up after 10 s."""
    max_connections: Annotated[int, Field(ge=1)] = 64
    """Most connections, and so most requests, at a time; further ones wait in line."""
    max_waiting_requests: Annotated[int, Field(ge=0)] = 1000
    """Most requests in that line; a further one is refused at once."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Most attempts at a call where it is safe to make it again; 1 to never repeat one."""
    circuit_failures: Annotated[int, Field(ge=1)] = 10
    """After how many failures in a row no request is sent for a moment."""
    circuit_max_pause_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """How long such a moment lasts at most; so long may pass until a recovery is noticed."""

    @model_validator(mode="after")
    def _one_api_key(self) -> "ThreeDSSettings":
        if (self.api_key is None) == (self.api_key_file is None):
            raise ValueError("set either api_key or api_key_file")
        return self

    @model_validator(mode="after")
    def _connects_in_time(self) -> "ThreeDSSettings":
        if self.connect_timeout_seconds > self.total_timeout_seconds:
            raise ValueError(_CONNECTS_TOO_LATE)
        return self


class AssertionKeySettings(_Table):
    """A key that signs our assertions to D1."""

    file: PrivateFile
    """The private key: EC P-256, PEM or JWK."""
    kid: KeyId
    """The `kid` under which D1 knows its public half."""
    passphrase_file: PrivateFile | None = None
    """A file with the passphrase of that key and nothing else. None: the key is not encrypted."""


class D1EncryptionKeySettings(_Table):
    """A key of D1's, for which card data is encrypted."""

    file: ReadableFile
    """D1's public key: EC P-256, PEM or JWK."""
    kid: KeyId
    """The `kid` that D1 gave it."""
    active_from: AwareDatetime | None = None
    """From when on it is used, with its offset from UTC: `2027-03-01T06:00:00Z`. None: until another one is."""


class IssuerSettings(_Table):
    """The keys of one issuer. They are read at the start; docs/keys.md says how to replace them."""

    assertion_keys: tuple[AssertionKeySettings, ...]
    """One or two. What signs our assertions: the first; or, where D1 refuses that one, the second."""
    d1_encryption_keys: tuple[D1EncryptionKeySettings, ...]
    """One or two. What card data is encrypted for: of those whose time has come, the latest."""

    # Not a constraint of the field, which would tell of every wrong key that there is none besides.
    @field_validator("assertion_keys", "d1_encryption_keys")
    @classmethod
    def _one_or_two(cls, keys: tuple[_Key, ...]) -> tuple[_Key, ...]:
        if not 1 <= len(keys) <= _MOST_KEYS:
            raise ValueError(f"there have to be one or {_MOST_KEYS}")
        return keys

    @model_validator(mode="after")
    def _keys_can_be_told_apart(self) -> "IssuerSettings":
        for setting, kids in (
            ("assertion_keys", [key.kid for key in self.assertion_keys]),
            ("d1_encryption_keys", [key.kid for key in self.d1_encryption_keys]),
        ):
            if len(set(kids)) < len(kids):
                raise ValueError(f"{setting}: both have the kid {kids[0]}")
        times = [key.active_from for key in self.d1_encryption_keys]
        if len(set(times)) < len(times):
            raise ValueError("d1_encryption_keys: active_from has to tell which one comes after the other")
        return self


class QuestionSettings(_Table):
    """One kind of question that D1 asks."""

    deadline_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """How long handlers have, all together. D1 gives up by itself after a time that it does not tell."""
    fallback_status: Annotated[int, Field(ge=400, le=599)] = 500
    """The HTTP status for D1 if no handler answers in time."""
    fallback_error: Annotated[str, StringConstraints(max_length=256)] = "no answer in time"
    """The text that goes with it."""


class ResultPollSettings(_Table):
    """D1's polls for the result of an authentication."""

    deadline_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """How long handlers have, all together."""
    fallback_status: Annotated[int, Field(ge=400, le=599)] | None = None
    """The HTTP status for D1 if no handler answers in time. None: the poll is answered that the result is pending."""
    fallback_error: Annotated[str, StringConstraints(max_length=256)] = "no answer in time"
    """The text that goes with a status."""


class CallbackSettings(_Table):
    """What D1 asks, and handlers answer."""

    consumer_information: QuestionSettings = QuestionSettings()
    """Who a consumer is."""
    deliver_otp: QuestionSettings = QuestionSettings()
    """To send a one-time password."""
    authenticate: QuestionSettings = QuestionSettings()
    """To authenticate a consumer in the issuer's app."""
    authentication_result: ResultPollSettings = ResultPollSettings()
    """How such an authentication ended."""
    card_credentials: QuestionSettings = QuestionSettings()
    """What stands on a card."""
    authentication_result_ttl_seconds: Seconds = 900.0
    """How long the result of an authentication is kept for D1's polls, from when it was told first."""


class EventLogSettings(_Table):
    """Where notifications are kept."""

    path: Path = Path("d1-gateway.db")
    """The SQLite file; made if there is none. Its folder must be on a local disk."""
    retention_seconds: Seconds = 30 * 86_400.0
    """How long a notification is kept."""
    retention_bytes: Annotated[int, Field(ge=1_048_576)] = 10 * 1_073_741_824
    """How large the file may grow before the oldest notifications go."""


class IdempotencySettings(_Table):
    """Repeated calls, and the first replies that they get."""

    key_file: PrivateFile | None = None
    """The key under which first replies are kept: 64 lower-case hexadecimal digits, the same for all instances that
    share a store. None: a file beside the event log, its name with `.key` behind it, made at the first start."""


class AdminSettings(_Table):
    """The port for operators: metrics and probes, plain HTTP."""

    host: str = "127.0.0.1"
    """Address to listen on. What is served is no secret, but it is not for everybody: see docs/operations.md."""
    port: Port = 9464
    """TCP port; 0 takes a free one."""


class LogSettings(_Table):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is written."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    grpc: GrpcSettings = GrpcSettings()
    """The listener for internal callers."""
    access: AccessSettings
    """Which internal callers may call what: nobody anything that is not granted."""
    edge: EdgeSettings
    """The HTTPS listener for D1's callbacks."""
    d1: D1Settings
    """The connection to D1."""
    threeds: ThreeDSSettings | None = None
    """The connection to the 3-D Secure server. Without it there is no AuthenticationService."""
    issuers: Annotated[Mapping[IssuerId, IssuerSettings], Field(min_length=1)]
    """The keys of each issuer, by issuer id: exactly 10 characters, as D1 named it."""
    callbacks: CallbackSettings = CallbackSettings()
    """What D1 asks, and handlers answer."""
    event_log: EventLogSettings = EventLogSettings()
    """Where notifications are kept."""
    idempotency: IdempotencySettings = IdempotencySettings()
    """Repeated calls, and the first replies that they get."""
    admin: AdminSettings = AdminSettings()
    """The port for operators: metrics and probes, plain HTTP."""
    log: LogSettings = LogSettings()
    """What is logged."""
    drain_grace_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """How long calls and callbacks in flight may go on once a shutdown has begun."""

    @model_validator(mode="after")
    def _callers_can_be_known(self) -> "Settings":
        if self.access.tokens is None and self.grpc.tls_client_ca_file is None:
            raise ValueError("access: callers are known by grpc.tls_client_ca_file or by access.tokens; set one")
        return self

    @model_validator(mode="after")
    def _listeners_have_a_port_each(self) -> "Settings":
        listeners: dict[str, GrpcSettings | EdgeSettings | AdminSettings] = {
            "grpc": self.grpc,
            "edge": self.edge,
            "admin": self.admin,
        }
        for (one, first), (other, second) in combinations(listeners.items(), 2):
            meet = first.host == second.host or not _WILDCARDS.isdisjoint({first.host, second.host})
            if first.port == second.port != 0 and meet:
                raise ValueError(f"{one}.port and {other}.port are both {first.port}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file; leave out what pydantic-settings offers besides."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


class SettingsError(Exception):
    """The settings cannot be used; ``mistakes`` has one line each, with its place."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def load(file: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        file: The TOML file; None where everything comes from the environment.
        environment: What to look for unknown settings in; the process's own environment if None.

    Raises:
        SettingsError: Something is missing, unknown, wrong or contradictory.
    """
    mistakes = list(_unknown_in_environment(os.environ if environment is None else environment))
    try:
        values = _read_toml(file) if file is not None else {}
        settings = Settings(**values)
    except ValidationError as error:
        mistakes += [f"{_place(detail['loc'], file)}: {_text(detail['msg'])}" for detail in error.errors()]
    except (OSError, ValueError) as error:
        mistakes.append(f"{file}: {error}")
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def _read_toml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError("there is no such file")
    return dict(TomlConfigSettingsSource(Settings, toml_file=file)())


def _place(location: tuple[int | str, ...], file: Path | None) -> str:
    # Pydantic's mark for the key of a table, where it is the key that is wrong.
    setting = ".".join(str(part) for part in location if part != "[key]") or "settings"
    return f"{setting} ({file})" if file is not None else setting


def _text(message: str) -> str:
    return message.removeprefix("Value error, ")


def _unknown_in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    prefix = ENVIRONMENT_PREFIX.lower()
    for variable in sorted(environment):
        # pydantic-settings takes a variable's name in any case, and passes over what it does not know.
        name = variable.lower()
        if name.startswith(prefix) and variable != FILE_VARIABLE:
            setting, nested, _ = name.removeprefix(prefix).partition("__")
            field = Settings.model_fields.get(setting)
            if field is None or (nested and field.annotation is float):
                yield f"{variable} (environment): there is no such setting"
