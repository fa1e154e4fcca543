"""All settings, and their sources: a TOML file and the environment."""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as SourceError

from gateway.formats.toml_input import read_toml
from gateway.settings.audit import AuditSettings
from gateway.settings.backfill import BackfillSettings
from gateway.settings.callbacks import CallbackSettings
from gateway.settings.listeners import AccessSettings, AdminSettings, EdgeSettings, GrpcSettings
from gateway.settings.logging import LoggingSettings
from gateway.settings.schema import ENVIRONMENT_PREFIX, suggested, suggested_variable
from gateway.settings.storage import EventLogSettings, IdempotencySettings, NatsSettings
from gateway.settings.types import AggregatorId, IssuerId, not_empty
from gateway.settings.upstreams import AggregatorSettings, D1Settings, IssuerSettings, ThreeDSSettings

__all__ = ["FILE_VARIABLE", "Settings", "SettingsError", "load"]

FILE_VARIABLE = "D1_GATEWAY_CONFIG_FILE"
"""Environment variable with the path of the TOML file."""

_CLIENT_PREFIX = "d1_gateway_client_"
"""Prefix of the client's options, which may share the environment."""
_IN_TOML = {
    "tuple_type": "must be a list",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "extra_forbidden": "unknown setting",
}
"""In words of the file what pydantic says in those of Python, by pydantic's name of the error."""
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (compared, not listened on)


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    grpc: GrpcSettings = GrpcSettings()
    """The listener for internal callers."""
    access: AccessSettings
    """Access of internal callers. Denied by default."""
    edge: EdgeSettings
    """The HTTPS listener for D1's callbacks."""
    d1: D1Settings
    """The connections to D1. The limits and the circuit breaker are those of each client certificate: an issuer whose
    own certificate D1 refuses, or whose calls hang, does not stop the others."""
    threeds: ThreeDSSettings | None = None
    """The connection to the 3-D Secure server. Unset: AuthenticationService is not served."""
    issuers: Annotated[Mapping[IssuerId, IssuerSettings], AfterValidator(not_empty)]
    """The keys and the client certificate of each issuer, by D1's issuer id of exactly 10 characters."""
    aggregators: Mapping[AggregatorId, AggregatorSettings] = {}
    """The aggregators that issuers name, by the id that D1 gave each. One access token serves all issuers of an
    aggregator; it is fetched with the client certificate of `[d1]`. See docs/issuers.md."""
    callbacks: CallbackSettings = CallbackSettings()
    """D1's callbacks that handlers answer."""
    event_log: EventLogSettings = EventLogSettings()
    """The event log: where notifications are kept, and for how long."""
    nats: NatsSettings | None = None
    """NATS with JetStream: the shared storage of several gateways. Unset: one gateway with a SQLite file."""
    backfill: BackfillSettings = BackfillSettings()
    """The backfill: what D1 could not deliver is fetched from its history. See docs/backfill.md."""
    idempotency: IdempotencySettings = IdempotencySettings()
    """Idempotency: the replies kept for repeated requests."""
    audit: AuditSettings | None = None
    """The audit trail: every change that a caller made, and every call that was refused. Unset: there is none. See
    docs/audit.md."""
    admin: AdminSettings = AdminSettings()
    """The admin listener for operators: their page, metrics and probes over plain HTTP."""
    log: LoggingSettings = LoggingSettings()
    """Logging."""
    drain_grace_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """Time for calls and callbacks in flight to finish during a shutdown."""

    @model_validator(mode="after")
    def _callers_are_identified(self) -> "Settings":
        if self.access.tokens is None and self.grpc.tls_client_ca_file is None:
            raise ValueError("access: callers cannot be identified; set grpc.tls_client_ca_file or access.tokens")
        return self

    @model_validator(mode="after")
    def _issuers_have_client_certificates(self) -> "Settings":
        without = [issuer_id for issuer_id, issuer in self.issuers.items() if issuer.tls_certificate_file is None]
        if without and self.d1.tls_certificate_file is None:
            raise ValueError(
                f"no client certificate for {', '.join(without)}: set tls_certificate_file and tls_key_file "
                "in the issuer's table or in [d1]"
            )
        if self.aggregators and self.d1.tls_certificate_file is None:
            raise ValueError("aggregators: their tokens require d1.tls_certificate_file")
        return self

    @model_validator(mode="after")
    def _aggregators_exist(self) -> "Settings":
        for issuer_id, issuer in self.issuers.items():
            if issuer.aggregator is not None and issuer.aggregator not in self.aggregators:
                raise ValueError(f"issuers.{issuer_id}.aggregator: there is no table [aggregators.{issuer.aggregator}]")
        return self

    @model_validator(mode="after")
    def _issuers_have_edge_clients(self) -> "Settings":
        oauth = self.edge.oauth
        if oauth is None:
            return self
        if unknown := oauth.clients.keys() - self.issuers.keys():
            raise ValueError(f"edge.oauth.clients: no such issuer: {', '.join(sorted(unknown))}")
        without = [issuer_id for issuer_id in self.issuers if issuer_id not in oauth.clients]
        if without and oauth.client_id is None:
            raise ValueError(
                f"edge.oauth: no client for {', '.join(without)}: set client_id and client_secret_sha256, "
                "or the issuer's table in edge.oauth.clients"
            )
        return self

    @model_validator(mode="after")
    def _ports_are_distinct(self) -> "Settings":
        listeners: dict[str, GrpcSettings | EdgeSettings | AdminSettings] = {
            "grpc": self.grpc,
            "edge": self.edge,
            "admin": self.admin,
        }
        for (one, first), (other, second) in combinations(listeners.items(), 2):
            overlap = first.host == second.host or not _WILDCARDS.isdisjoint({first.host, second.host})
            if first.port == second.port != 0 and overlap:
                raise ValueError(f"{one}.port and {other}.port are both {first.port}")
        return self

    @model_validator(mode="after")
    def _shared_port_requires_shared_storage(self) -> "Settings":
        for name, listener in (("grpc", self.grpc), ("edge", self.edge)):
            if listener.reuse_port and self.nats is None:
                raise ValueError(f"{name}.reuse_port requires [nats]: the embedded event log belongs to one process")
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
        """Prefer the environment to the file, and use no other sources."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


class SettingsError(Exception):
    """The settings are not usable. ``mistakes`` has one line for each problem, with its location."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


def load(file: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        file: The TOML file; None to use the environment only.
        environment: Where to look for unknown settings; None for the process's environment.

    Raises:
        SettingsError: A setting is missing, unknown, invalid or contradictory.
    """
    mistakes = list(_unknown_in_environment(os.environ if environment is None else environment))
    try:
        sources = _Sources(file)
        settings = Settings(**sources.file_values)
    except ValidationError as error:
        mistakes += [f"{sources.locate(detail['loc'])}: {sources.explain(detail)}" for detail in error.errors()]
    except SourceError as error:
        mistakes.append(f"environment: {error}")
    except (OSError, ValueError) as error:
        mistakes.append(f"{file}: {error}")
    if mistakes:
        raise SettingsError(mistakes)
    return settings


class _Sources:
    """The sources of settings, to locate problems."""

    def __init__(self, file: Path | None) -> None:
        self.file_values = {} if file is None else _read_toml(file)
        self._environment = EnvSettingsSource(Settings)()
        self._file = file

    def locate(self, location: tuple[int | str, ...]) -> str:
        # Pydantic marks an invalid key of a table with this part.
        keys = [part for part in location if part != "[key]"]
        setting = ".".join(map(str, keys)) or "settings"
        if self._file is None:
            return setting
        given = _find(self._environment, keys)
        if given in (None, {}):
            return f"{setting} ({self._file})"
        # Both sources may set parts of a table.
        is_shared = isinstance(given, dict) and _find(self.file_values, keys) is not None
        return f"{setting} ({self._file} and environment)" if is_shared else f"{setting} (environment)"

    def explain(self, detail: ErrorDetails) -> str:
        text = _IN_TOML.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
        if detail["type"] != "extra_forbidden":
            return text
        path = detail["loc"]
        is_in_environment = _find(self._environment, path) not in (None, {})
        return text + _hint(suggested(Settings, path, in_environment=is_in_environment))


def _hint(suggestion: str) -> str:
    return f"; did you mean {suggestion}?" if suggestion else ""


def _find(values: Any, keys: Iterable[int | str]) -> Any:
    """Return the value at a path, or the value that replaces one of its tables; None if there is none."""
    for key in keys:
        if not isinstance(values, dict):
            return values
        values = values.get(key)
    return values


def _read_toml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError("file not found")
    return read_toml(file.read_bytes())


def _unknown_in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    prefix = ENVIRONMENT_PREFIX.lower()
    for variable in sorted(environment):
        # pydantic-settings ignores the case of variables, and skips unknown ones.
        name = variable.lower()
        if name.startswith(prefix) and variable != FILE_VARIABLE and not name.startswith(_CLIENT_PREFIX):
            setting, nested, _ = name.removeprefix(prefix).partition("__")
            field = Settings.model_fields.get(setting)
            if field is None or (nested and field.annotation is float):
                yield f"{variable} (environment): unknown setting{_hint(suggested_variable(Settings, variable))}"
