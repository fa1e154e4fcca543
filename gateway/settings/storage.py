"""Storage: the event log, the cluster's NATS servers, and the records of repeated requests."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from gateway.settings.types import (
    NatsUrl,
    PrivateFile,
    ReadableFile,
    Seconds,
    Table,
    expect_key,
    is_loopback,
    not_empty,
)

__all__ = ["EventLogSettings", "IdempotencySettings", "NatsSettings"]

_REPLICAS: Final = (1, 3, 5)


def _with_majority(replicas: int) -> int:
    if replicas not in _REPLICAS:
        raise ValueError("must be 1, 3 or 5")
    return replicas


# Not a literal, which would refuse the text of an environment variable.
_Replicas = Annotated[int, AfterValidator(_with_majority), WithJsonSchema({"type": "integer", "enum": [*_REPLICAS]})]


class EventLogSettings(Table):
    """The event log: where notifications are kept, and for how long."""

    path: Path = Path("d1-gateway.db")
    """SQLite file, created if missing. On a local disk, without hard links. With `[nats]`, used by `log copy` only."""
    retention_seconds: Seconds = 30 * 86_400.0
    """Retention time of a notification."""
    retention_bytes: Annotated[int, Field(ge=1_048_576)] = 10 * 1_073_741_824
    """Space for notifications; beyond it the oldest are deleted. Excludes idempotency records and results."""


class NatsSettings(Table):
    """NATS with JetStream: the shared storage of several gateways, in place of the SQLite file. See docs/cluster.md."""

    servers: Annotated[tuple[NatsUrl, ...], AfterValidator(not_empty)]
    """NATS servers: `tls://host:port`, or `nats://host:port` on loopback. A part of the cluster is enough."""
    replicas: _Replicas = 3
    """Number of servers that keep each notification; 1 for a single server."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "d1-gateway"
    """Prefix of all streams, buckets and subjects. Gateways with the same prefix form a cluster."""
    tls_ca_file: ReadableFile | None = None
    """CA of the servers' certificates (PEM). Unset: the system's CAs."""
    tls_certificate_file: ReadableFile | None = None
    """The gateway's client certificate (PEM), if the servers require one."""
    tls_key_file: PrivateFile | None = None
    """Private key of the client certificate (PEM)."""
    credentials_file: PrivateFile | None = None
    """Credentials of a NATS user (`.creds`). Unset: the client certificate or no authentication."""
    request_timeout_seconds: Seconds = 2.0
    """Timeout of a request to NATS; D1 then gets 503."""

    @model_validator(mode="after")
    def _encrypted_beyond_this_machine(self) -> "NatsSettings":
        for server in self.servers:
            parts = urlsplit(server)
            if parts.scheme != "tls" and not is_loopback(parts.hostname or ""):
                raise ValueError(f"servers: {server} is not on loopback; use tls://")
        return self

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> "NatsSettings":
        expect_key(self.tls_certificate_file, self.tls_key_file)
        return self


class IdempotencySettings(Table):
    """Idempotency: the replies kept for repeated requests."""

    key_file: PrivateFile | None = None
    """Key that encrypts idempotency records: 64 lower-case hexadecimal digits, the same for all gateways of a cluster.
    Unset: `<event_log.path>.key`, created at the first start."""
    forget_records_of: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None
    """Id of a lost or replaced key, whose records are given up so that the gateway starts with another key: see
    docs/operations.md. Unset: such a start is refused, because a repeated change would be sent again."""
