"""The listeners: addresses, TLS, callers and limits."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, WithJsonSchema, model_validator

from gateway.settings.types import (
    DocumentUrl,
    Identifier,
    IpNetwork,
    IssuerId,
    Port,
    PositiveInt,
    PrivateFile,
    ReadableFile,
    Seconds,
    Table,
    expect_key,
    is_loopback,
    not_empty,
)

__all__ = [
    "AccessSettings",
    "AdminSettings",
    "Algorithm",
    "EdgeOAuthClientSettings",
    "EdgeOAuthSettings",
    "EdgeProxySettings",
    "EdgeSettings",
    "GrpcSettings",
    "TokenSettings",
]

Algorithm = Literal["ES256", "PS256", "RS256", "EdDSA", "Ed25519"]

_EVENT_BYTES_PER_BODY_BYTE = 8
"""Unknown fields are kept as a `Struct`, which is several times longer than their JSON if values are short."""
_SHA256 = re.compile("[0-9a-f]{64}")
_PATH_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


class GrpcSettings(Table):
    """The listener for internal callers."""

    host: str = "127.0.0.1"
    """Listening address. Without TLS, loopback only."""
    port: Port = 8443
    """TCP port; 0 picks a free one."""
    reuse_port: bool = False
    """Whether other gateways on this machine may listen on the same port (SO_REUSEPORT). Requires `[nats]`."""
    tls_certificate_file: ReadableFile | None = None
    """Server certificate with its chain (PEM). Unset: plaintext, on loopback only."""
    tls_key_file: PrivateFile | None = None
    """Private key of the server certificate (PEM)."""
    tls_key_passphrase_file: PrivateFile | None = None
    """File with the private key's passphrase only. Unset: the key is not encrypted."""
    tls_client_ca_file: ReadableFile | None = None
    """CA of the callers' client certificates (PEM). If set, every caller must present one."""
    max_message_bytes: Annotated[int, Field(ge=1024)] = 393_216
    """Maximum size of a request message, in bytes. The largest ones are AReqs; with an app's device data, message
    extensions and authentication data they exceed 300 kB."""
    max_connections: PositiveInt = 5000
    """Maximum concurrent connections. Further connections are closed immediately."""
    max_calls_per_caller: PositiveInt = 1000
    """Maximum concurrent unary calls of a caller. Further calls are rejected."""
    max_streams_per_caller: PositiveInt = 100
    """Maximum open streams of a caller. Further streams are rejected."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "GrpcSettings":
        expect_key(self.tls_certificate_file, self.tls_key_file, self.tls_key_passphrase_file)
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file requires tls_certificate_file and tls_key_file")
        if self.tls_certificate_file is None and not is_loopback(self.host):
            raise ValueError(f"a plaintext listener must be on loopback, not on {self.host}")
        return self


class TokenSettings(Table):
    """Bearer tokens of internal callers."""

    issuer: Annotated[Identifier, StringConstraints(min_length=1)]
    """Required `iss` claim."""
    audience: Annotated[Identifier, StringConstraints(min_length=1)] = "d1-gateway"
    """Required `aud` claim, alone or in a list."""
    jwks_file: ReadableFile | None = None
    """JWK set with the public keys of the token issuer. Reloaded when the file changes."""
    jwks_url: DocumentUrl | None = None
    """URL of the JWK set. Plain HTTP on loopback only."""
    jwks_ca_file: ReadableFile | None = None
    """CA of the JWKS server's certificate (PEM). Unset: the system's CAs."""
    jwks_refresh_seconds: Annotated[float, Field(ge=10, allow_inf_nan=False)] = 300.0
    """Interval between fetches of the JWK set. An unknown key triggers a fetch, at most every 30 s."""
    algorithms: Annotated[tuple[Algorithm, ...], AfterValidator(not_empty)] = ("ES256", "PS256", "RS256", "EdDSA")
    """Accepted signature algorithms."""
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    """Tolerated clock difference to the token issuer."""

    @model_validator(mode="after")
    def _one_source(self) -> "TokenSettings":
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("set either jwks_file or jwks_url")
        if self.jwks_ca_file is not None and self.jwks_url is None:
            raise ValueError("jwks_ca_file requires jwks_url")
        return self


class AccessSettings(Table):
    """Access of internal callers. Denied by default."""

    policy_file: ReadableFile
    """Policy (TOML) that grants rpcs and issuers to callers; see docs/access.md. Reloaded when the file changes."""
    tokens: TokenSettings | None = None
    """Bearer tokens of callers. Unset: callers are identified by their client certificates."""


def _sha256(secret: SecretStr) -> SecretStr:
    if not _SHA256.fullmatch(secret.get_secret_value()):
        raise ValueError("must be a SHA-256 hash in lower-case hexadecimal")
    return secret


_ClientId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^:]+$")]
_SecretSha256 = Annotated[SecretStr, AfterValidator(_sha256)]


class EdgeOAuthClientSettings(Table):
    """D1's client at the token endpoint for one issuer. Its tokens are good for that issuer's callbacks alone."""

    client_id: _ClientId
    """Client id agreed with D1 for this issuer."""
    client_secret_sha256: _SecretSha256
    """SHA-256 hash of its client secret, in lower-case hexadecimal."""
    scope: str = ""
    """Scope agreed with D1: names separated by spaces, or empty."""


class EdgeOAuthSettings(Table):
    """The token endpoint for D1. If set, every callback needs a bearer token."""

    client_id: _ClientId | None = None
    """Client id agreed with D1, for the issuers that have none in `clients`. Unset: each has its own."""
    client_secret_sha256: _SecretSha256 | None = None
    """SHA-256 hash of the client secret agreed with D1, in lower-case hexadecimal."""
    scope: str = ""
    """Scope agreed with D1: names separated by spaces, or empty."""
    clients: Mapping[IssuerId, EdgeOAuthClientSettings] = {}
    """D1's clients for issuers that have one of their own, by issuer id. A token is good for callbacks of its client's
    issuer alone; that of the common client, for callbacks of all issuers without their own."""
    signing_key_file: PrivateFile
    """Private key that signs tokens: EC P-256, PEM or JWK."""
    signing_key_passphrase_file: PrivateFile | None = None
    """File with the private key's passphrase only. Unset: the key is not encrypted."""
    verification_key_files: tuple[ReadableFile, ...] = ()
    """Additional public keys of accepted tokens, PEM or JWK: the previous and next signing keys during a rotation."""
    token_lifetime_seconds: Annotated[int, Field(ge=60, le=3600)] = 900
    """Lifetime of a token."""

    @model_validator(mode="after")
    def _clients_are_whole_and_distinct(self) -> "EdgeOAuthSettings":
        if (self.client_id is None) != (self.client_secret_sha256 is None):
            raise ValueError("set both client_id and client_secret_sha256, or neither")
        if self.scope and self.client_id is None:
            raise ValueError("scope requires client_id")
        client_ids = [client.client_id for client in self.clients.values()]
        for client_id in client_ids:
            if client_ids.count(client_id) > 1 or client_id == self.client_id:
                raise ValueError(f"clients: duplicate client_id {client_id}")
        return self


class EdgeProxySettings(Table):
    """A proxy that terminates TLS and forwards D1's certificate in the header `Client-Cert` (RFC 9440)."""

    networks: Annotated[tuple[IpNetwork, ...], AfterValidator(not_empty)]
    """Networks of the proxy, and of nothing else: their `Client-Cert` header is trusted. Example: `["10.1.2.3/32"]`."""


def _distinct(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    if len({*prefixes}) != len(prefixes):
        raise ValueError("must not name a path twice")
    return prefixes


def _path_prefix(prefix: str) -> str:
    if not _PATH_PREFIX.fullmatch(prefix):
        raise ValueError("must be a path of letters, digits and ._~-, without a slash at the end: /banking/v1")
    return prefix


_PathPrefix = Annotated[
    str,
    StringConstraints(max_length=128),
    AfterValidator(_path_prefix),
    WithJsonSchema({"type": "string", "format": "path"}),
]


class EdgeSettings(Table):
    """The HTTPS listener for D1's callbacks."""

    host: str = "127.0.0.1"
    """Listening address."""
    port: Port = 9443
    """TCP port; 0 picks a free one."""
    reuse_port: bool = False
    """Whether other gateways on this machine may listen on the same port (SO_REUSEPORT). Requires `[nats]`."""
    tls_certificate_file: ReadableFile
    """Server certificate with its chain (PEM)."""
    tls_key_file: PrivateFile
    """Private key of the server certificate (PEM)."""
    tls_key_passphrase_file: PrivateFile | None = None
    """File with the private key's passphrase only. Unset: the key is not encrypted."""
    tls_client_ca_file: ReadableFile
    """CA of D1's client certificate (PEM). Clients without a certificate of this CA get no connection."""
    tls_client_subjects: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Accepted subjects of client certificates: exact common names or subject alternative names. Empty: all."""
    proxy: EdgeProxySettings | None = None
    """A proxy that terminates D1's TLS connections."""
    additional_banking_paths: Annotated[tuple[_PathPrefix, ...], AfterValidator(_distinct)] = ()
    """Paths below which the callbacks about consumers are served too, for a D1 that does not call them below
    `/banking/d1/v1` alone. Example: `["/banking/v1"]`."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 65_536
    """Maximum size of a request body. Larger ones get 413."""
    max_connections: PositiveInt = 1000
    """Maximum concurrent connections with an accepted certificate, or from the proxy. Further ones are closed."""
    max_connections_per_address: PositiveInt = 750
    """Share of one address in `max_connections` (IPv6: of a network of 64 bits). Does not hold for the proxy."""
    max_handshakes: PositiveInt = 500
    """Maximum concurrent connections before their ClientHello, and as many during their handshake. A further one
    displaces the oldest of the address that has the most."""
    handshake_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Timeout from accepting a connection to an accepted certificate. For the ClientHello, 2 s at most."""
    request_timeout_seconds: Seconds = 10.0
    """Timeout of each of: request headers, request body."""
    idle_timeout_seconds: Seconds = 75.0
    """Timeout of an idle connection."""
    oauth: EdgeOAuthSettings | None = None
    """The token endpoint, if bearer tokens are agreed with D1."""

    @property
    def max_event_bytes(self) -> int:
        """Size that no notification in the event log exceeds."""
        return self.max_body_bytes * _EVENT_BYTES_PER_BODY_BYTE


class AdminSettings(Table):
    """The admin listener for operators: their page, metrics and probes over plain HTTP."""

    host: str = "127.0.0.1"
    """Listening address. Not secret, but not public either: see docs/operations.md."""
    port: Port = 9464
    """TCP port; 0 picks a free one."""
    operators_page: bool = True
    """Whether `GET /` shows the operators' page."""
    page_hosts: tuple[Annotated[str, StringConstraints(min_length=1, to_lower=True)], ...] = ()
    """Names under which browsers may ask for the page, besides IP addresses, names without a dot and the machine's own
    name. Example: `["gateway-1.ops.bank.example"]`."""
