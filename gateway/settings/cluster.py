"""The storage and the bus that several gateways share: NATS with JetStream."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints, model_validator

from gateway.settings.types import PrivateFile, ReadableFile, Seconds, Table, filled, is_loopback, reachable

__all__ = ["NatsSettings"]

_Server = Annotated[str, StringConstraints(pattern=r"^(nats|tls)://[^/\s?#@]+$"), AfterValidator(reachable)]


class NatsSettings(Table):
    """NATS with JetStream, in the place of the embedded storage; docs/cluster.md says when, and what it needs."""

    servers: Annotated[tuple[_Server, ...], AfterValidator(filled)]
    """Where the servers are: `tls://host:port`, or `nats://host:port` on loopback. Some of a cluster's are enough."""
    replicas: Literal[1, 3, 5] = 3
    """How many servers keep each notification: 3 where there are three; 1 for a single server."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "d1-gateway"
    """What the names of all that the gateways keep and say begin with. Gateways with the same one work together."""
    tls_ca_file: ReadableFile | None = None
    """CA of the servers' certificates, PEM. None: the system's."""
    tls_certificate_file: ReadableFile | None = None
    """Our client certificate, where the servers ask for one, PEM."""
    tls_key_file: PrivateFile | None = None
    """Private key of our client certificate, PEM."""
    credentials_file: PrivateFile | None = None
    """The credentials of a NATS user (`.creds`). None: the servers know us by our certificate, or let everybody in."""
    request_timeout_seconds: Seconds = 2.0
    """How long a server may take for what it is asked; D1 is told 503 after that."""

    @model_validator(mode="after")
    def _encrypted_beyond_this_machine(self) -> "NatsSettings":
        for server in self.servers:
            parts = urlsplit(server)
            if parts.scheme != "tls" and not is_loopback(parts.hostname or ""):
                raise ValueError(f"servers: {server} is not on loopback: use tls://")
        return self

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> "NatsSettings":
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("set both tls_certificate_file and tls_key_file, or neither")
        return self
