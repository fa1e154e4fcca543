"""The upstreams: D1, the 3-D Secure server, and the keys of each issuer."""

from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from gateway.settings.types import Identifier, KeyId, Origin, PrivateFile, ReadableFile, Seconds, Table, reachable

__all__ = ["AssertionKeySettings", "D1EncryptionKeySettings", "D1Settings", "IssuerSettings", "ThreeDSSettings"]

_Key = TypeVar("_Key")

_MOST_KEYS = 2
_CONNECTS_TOO_LATE = "connect_timeout_seconds must not be longer than total_timeout_seconds"


class D1Settings(Table):
    """The connection to D1."""

    base_url: Annotated[str, StringConstraints(pattern=r"^https://[^/\s?#@]+$"), AfterValidator(reachable)] = (
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
    assertion_audience: Identifier | None = "https://api.d1.thalescloud.io"
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


class ThreeDSSettings(Table):
    """The connection to the 3-D Secure server."""

    base_url: Origin
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


class AssertionKeySettings(Table):
    """A key that signs our assertions to D1."""

    file: PrivateFile
    """The private key: EC P-256, PEM or JWK."""
    kid: KeyId
    """The `kid` under which D1 knows its public half."""
    passphrase_file: PrivateFile | None = None
    """A file with the passphrase of that key and nothing else. None: the key is not encrypted."""


class D1EncryptionKeySettings(Table):
    """A key of D1's, for which card data is encrypted."""

    file: ReadableFile
    """D1's public key: EC P-256, PEM or JWK."""
    kid: KeyId
    """The `kid` that D1 gave it."""
    active_from: AwareDatetime | None = None
    """From when on it is used, with its offset from UTC: `2027-03-01T06:00:00Z`. None: until another one is."""


class IssuerSettings(Table):
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
