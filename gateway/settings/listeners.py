"""The listeners: who may come in where, and how much of it."""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from gateway.settings.types import (
    DocumentUrl,
    Identifier,
    Port,
    PrivateFile,
    ReadableFile,
    Seconds,
    Table,
    filled,
    is_loopback,
)

__all__ = [
    "AccessSettings",
    "AdminSettings",
    "Algorithm",
    "EdgeOAuthSettings",
    "EdgeProxySettings",
    "EdgeSettings",
    "GrpcSettings",
    "TokenSettings",
]

Algorithm = Literal["ES256", "PS256", "RS256", "EdDSA", "Ed25519"]

_SHA256 = re.compile("[0-9a-f]{64}")


class GrpcSettings(Table):
    """The listener for internal callers."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback only with TLS."""
    port: Port = 8443
    """TCP port; 0 takes a free one."""
    reuse_port: bool = False
    """Whether other gateways on this machine may listen on the same port (SO_REUSEPORT). Only with `[nats]`."""
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
        if self.tls_certificate_file is None and not is_loopback(self.host):
            raise ValueError(f"a listener without TLS must be on loopback, not on {self.host}")
        return self


class TokenSettings(Table):
    """Bearer tokens of internal callers."""

    issuer: Annotated[Identifier, StringConstraints(min_length=1)]
    """What `iss` has to be."""
    audience: Annotated[Identifier, StringConstraints(min_length=1)] = "d1-gateway"
    """What `aud` has to be or to contain."""
    jwks_file: ReadableFile | None = None
    """The public keys that sign the tokens, a JWK set. Read again when it changes."""
    jwks_url: DocumentUrl | None = None
    """Where they are fetched: https; plain http only on loopback."""
    jwks_ca_file: ReadableFile | None = None
    """CA of that server's certificate, PEM. None: the system's."""
    jwks_refresh_seconds: Annotated[float, Field(ge=10, allow_inf_nan=False)] = 300.0
    """How often they are fetched; for an unknown key besides, at most every 30 s."""
    algorithms: Annotated[tuple[Algorithm, ...], AfterValidator(filled)] = ("ES256", "PS256", "RS256", "EdDSA")
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


class AccessSettings(Table):
    """Which internal callers may call what."""

    policy_file: ReadableFile
    """Grants callers their rpcs and issuers, TOML; see docs/access.md. Read again when it changes."""
    tokens: TokenSettings | None = None
    """Set where callers show bearer tokens. Otherwise their client certificates tell who they are."""


def _sha256(secret: SecretStr) -> SecretStr:
    if not _SHA256.fullmatch(secret.get_secret_value()):
        raise ValueError("it is no SHA-256 in lower-case hexadecimal")
    return secret


class EdgeOAuthSettings(Table):
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


class EdgeProxySettings(Table):
    """A proxy that ends D1's TLS connections and hands on D1's certificate in the header `Client-Cert` (RFC 9440)."""

    networks: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], AfterValidator(filled)]
    """Where it connects from, and nobody else: what comes from there is believed. For example `["10.1.2.3/32"]`."""


class EdgeSettings(Table):
    """The HTTPS listener for D1's callbacks."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 9443
    """TCP port; 0 takes a free one."""
    reuse_port: bool = False
    """Whether other gateways on this machine may listen on the same port (SO_REUSEPORT). Only with `[nats]`."""
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


class AdminSettings(Table):
    """The port for operators: metrics and probes, plain HTTP."""

    host: str = "127.0.0.1"
    """Address to listen on. What is served is no secret, but it is not for everybody: see docs/operations.md."""
    port: Port = 9464
    """TCP port; 0 takes a free one."""
