"""Gateway settings for a sandbox."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self, TypeAlias

import orjson

from sandbox.common.pki import CALLER, Pki
from sandbox.d1.callbacks.notifier import EdgeCredentials
from sandbox.sandbox import Sandbox

__all__ = ["GatewayConfig", "SharedStorage", "write_policy"]

_Table: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class SharedStorage:
    """What the gateways of a cluster share."""

    servers: Sequence[str]
    """The NATS servers: ``tls://host:port``, or ``nats://host:port`` without TLS."""
    key_file: Path
    """The encryption key of idempotency records."""
    replicas: int = 1
    """The number of replicas."""

    @classmethod
    def make(cls, servers: Sequence[str], folder: Path, *, replicas: int = 1) -> Self:
        """Make the shared settings, with a new key in a folder."""
        key_file = folder / "idempotency-key"
        key_file.touch(mode=0o600)
        key_file.write_text(secrets.token_hex(32))
        return cls(servers, key_file, replicas)

    def to_tables(self, pki: Pki) -> dict[str, _Table]:
        """Return the settings' tables."""
        nats: dict[str, object] = {"servers": list(self.servers), "replicas": self.replicas}
        if self.servers[0].startswith("tls:"):
            nats |= {
                "tls_ca_file": pki.nats_ca,
                "tls_certificate_file": pki.nats_client.certificate,
                "tls_key_file": pki.nats_client.key,
            }
        return {"nats": nats, "idempotency": {"key_file": self.key_file}}


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The settings of a gateway that uses a sandbox."""

    issuer_id: str
    pki: Pki
    d1_url: str
    event_log: Path
    policy: Path
    """The policy file."""
    threeds_url: str | None = None
    """The 3-D Secure server; None for a gateway without one."""
    threeds_api_key_file: Path | None = None
    grpc_port: int = 0
    edge_port: int = 0
    admin_port: int = 0
    oauth: EdgeCredentials | None = None
    """D1's credentials for tokens; None for client certificates alone."""
    retention_seconds: float = 86_400.0
    assertion_keys: tuple[Path, ...] = ()
    """The private JWKs that sign assertions, in order of preference. Empty: D1's first registered key."""
    d1_encryption_keys: tuple[tuple[Path, datetime | None], ...] = ()
    """D1's public JWKs, each with its first day of use. Empty: D1's first key."""
    shared: SharedStorage | None = None
    """What the gateways of a cluster share; None for a single gateway."""
    more: Mapping[str, _Table] = field(default_factory=dict)
    """Further or overriding settings, by table: ``{"d1": {"total_timeout_seconds": 1.0}}``."""

    @classmethod
    def of(
        cls,
        sandbox: Sandbox,
        folder: Path,
        *,
        oauth: EdgeCredentials | None = None,
        shared: SharedStorage | None = None,
    ) -> Self:
        """Make the settings for a sandbox, with all files in a folder."""
        api_key_file = folder / "threeds-api-key"
        api_key_file.touch(mode=0o600)
        api_key_file.write_text(sandbox.threeds_api_key)
        return cls(
            sandbox.issuer_id,
            sandbox.pki,
            sandbox.d1_url,
            folder / "d1-gateway.db",
            write_policy(folder / "policy.toml"),
            threeds_url=sandbox.threeds_url,
            threeds_api_key_file=api_key_file,
            oauth=oauth,
            shared=shared,
        )

    def to_toml(self) -> str:
        """Return the settings as TOML."""
        tables = self._listeners() | self._upstreams() | self._storage()
        for name, values in self.more.items():
            tables[name] = {**tables.get(name, {}), **values}
        return "\n".join(
            [
                *(_toml(f"[{name}]", values) for name, values in tables.items()),
                *(_toml(f"[[issuers.{self.issuer_id}.{kind}]]", key) for kind, key in self._keys()),
            ]
        )

    def _listeners(self) -> dict[str, _Table]:
        pki = self.pki
        tables: dict[str, _Table] = {
            "grpc": {
                "port": self.grpc_port,
                "tls_certificate_file": pki.grpc_server.certificate,
                "tls_key_file": pki.grpc_server.key,
                "tls_client_ca_file": pki.caller_ca,
            },
            "access": {"policy_file": self.policy},
            "edge": {
                "port": self.edge_port,
                "tls_certificate_file": pki.edge_server.certificate,
                "tls_key_file": pki.edge_server.key,
                "tls_client_ca_file": pki.d1_client_ca,
            },
            "admin": {"port": self.admin_port},
        }
        if self.oauth is not None:
            tables["edge.oauth"] = {
                "client_id": self.oauth.client_id,
                "client_secret_sha256": hashlib.sha256(self.oauth.client_secret.encode()).hexdigest(),
                "scope": self.oauth.scope or "",
                "signing_key_file": pki.edge_token_key,
            }
        return tables

    def _upstreams(self) -> dict[str, _Table]:
        pki = self.pki
        tables: dict[str, _Table] = {
            "d1": {
                "base_url": self.d1_url,
                "tls_ca_file": pki.server_ca,
                "tls_certificate_file": pki.gateway_client.certificate,
                "tls_key_file": pki.gateway_client.key,
            },
        }
        if self.threeds_url is not None and self.threeds_api_key_file is not None:
            tables["threeds"] = {
                "base_url": self.threeds_url,
                "api_key_file": self.threeds_api_key_file,
                "tls_ca_file": pki.server_ca,
            }
        return tables

    def _storage(self) -> dict[str, _Table]:
        own: _Table = {"path": self.event_log, "retention_seconds": self.retention_seconds}
        return {"event_log": own, **({} if self.shared is None else self.shared.to_tables(self.pki))}

    def _keys(self) -> Iterable[tuple[str, _Table]]:
        for file in self.assertion_keys or (self.pki.assertion_key,):
            yield "assertion_keys", {"file": file, "kid": _kid(file)}
        for file, time in self.d1_encryption_keys or ((self.pki.encryption_public_key, None),):
            active_from = {} if time is None else {"active_from": time}
            yield "d1_encryption_keys", {"file": file, "kid": _kid(file), **active_from}


def write_policy(path: Path) -> Path:
    """Write a policy that grants `CALLER` everything and nobody else anything."""
    path.write_text(f"""[[callers]]
identity = "{CALLER}"
grants = [{{ rpcs = ["*"], issuers = ["*"] }}]
""")
    return path


def _kid(jwk: Path) -> str:
    return str(orjson.loads(jwk.read_bytes())["kid"])


def _toml(header: str, values: _Table) -> str:
    return "\n".join([header, *(f"{key} = {_value(value)}" for key, value in values.items())]) + "\n"


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    # A JSON string or number is valid TOML too.
    return orjson.dumps(str(value) if isinstance(value, Path) else value).decode()
