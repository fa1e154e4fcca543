"""The upstreams: D1, the 3-D Secure server, and the keys of each issuer."""

import re
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, model_validator

from gateway.settings import private_files
from gateway.settings.types import (
    AggregatorId,
    HttpsOrigin,
    Identifier,
    KeyId,
    Origin,
    PositiveInt,
    PrivateFile,
    ReadableFile,
    Seconds,
    Table,
    expect_key,
    not_empty,
)

__all__ = [
    "AggregatorSettings",
    "AssertionKeySettings",
    "D1EncryptionKeySettings",
    "D1Settings",
    "IssuerSettings",
    "ThreeDSSettings",
    "UpstreamSettings",
]

_Key = TypeVar("_Key")

_MAX_KEYS: Final = 2
_ONE_API_KEY: Final = "set either api_key or api_key_file"
_API_KEY: Final = re.compile(r"[\x21-\x7e]{1,256}")


class UpstreamSettings(Table):
    """The connection to an upstream over HTTP."""

    base_url: Origin
    """Base URL, without a path. Plain HTTP on loopback only."""
    tls_ca_file: ReadableFile | None = None
    """CA of the upstream's server certificate (PEM). Unset: the system's CAs."""
    connect_timeout_seconds: Seconds = 2.0
    """Connect timeout, TLS included."""
    head_timeout_seconds: Seconds | None = None
    """Timeout of the wait for a response's head, after which a call that is safe to retry is retried. Unset: only
    `total_timeout_seconds` applies."""
    total_timeout_seconds: Seconds = 10.0
    """Timeout of a call, retries included. A shorter deadline of the caller applies instead."""
    max_connections: PositiveInt = 64
    """Maximum concurrent connections, one request each. Excess requests are queued."""
    max_waiting_requests: Annotated[int, Field(ge=0)] = 1000
    """Maximum queued requests. Further requests are rejected immediately."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Maximum attempts of a call that is safe to retry; 1 disables retries."""
    circuit_failures: PositiveInt = 10
    """Consecutive failures that open the circuit breaker."""
    circuit_max_pause_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """Maximum pause of the open circuit breaker before it probes the upstream."""

    @model_validator(mode="after")
    def _parts_within_total(self) -> "UpstreamSettings":
        head = self.head_timeout_seconds or 0.0
        for part, seconds in (("connect", self.connect_timeout_seconds), ("head", head)):
            if seconds > self.total_timeout_seconds:
                raise ValueError(f"{part}_timeout_seconds must not exceed total_timeout_seconds")
        return self


class D1Settings(UpstreamSettings):
    """The connections to D1."""

    base_url: HttpsOrigin = "https://api.d1.thalescloud.io"
    """Base URL of D1, without a path: production or pre-production."""
    tls_certificate_file: ReadableFile | None = None
    """Client certificate, signed by Thales (PEM), of the issuers that have none of their own. Unset: each has its
    own."""
    tls_key_file: PrivateFile | None = None
    """Private key of the client certificate (PEM)."""
    tls_key_passphrase_file: PrivateFile | None = None
    """File with the private key's passphrase only. Unset: the key is not encrypted."""
    assertion_audience: Identifier = "https://api.d1.thalescloud.io"
    """The `aud` claim of assertions. Empty: they have none."""

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> "D1Settings":
        expect_key(self.tls_certificate_file, self.tls_key_file, self.tls_key_passphrase_file)
        return self


def _header_value(api_key: SecretStr) -> SecretStr:
    if not _API_KEY.fullmatch(api_key.get_secret_value()):
        raise ValueError("must be 1 to 256 characters of printable ASCII without spaces")
    return api_key


def _read_api_key(file: Path) -> SecretStr:
    try:
        text = private_files.read_private(file).decode("ascii", "replace")
    except OSError as error:
        raise ValueError(f"file not readable: {file} ({error.strerror})") from error
    return _header_value(SecretStr(text.strip()))


def _with_api_key(file: Path) -> Path:
    _read_api_key(file)
    return file


class ThreeDSSettings(UpstreamSettings):
    """The connection to the 3-D Secure server."""

    base_url: Origin
    """Base URL of the server, without a path: its sandbox or production. Plain HTTP on loopback only."""
    total_timeout_seconds: Seconds = 11.0
    """Timeout of a call, retries included. A shorter deadline of the caller applies instead. The server's own timeout
    is 10 s."""
    api_key: Annotated[SecretStr, AfterValidator(_header_value)] | None = None
    """API key, preferably from the environment. Either this or `api_key_file`."""
    api_key_file: Annotated[PrivateFile, AfterValidator(_with_api_key)] | None = None
    """File with the API key only."""

    @model_validator(mode="after")
    def _one_api_key(self) -> "ThreeDSSettings":
        if (self.api_key is None) == (self.api_key_file is None):
            raise ValueError(_ONE_API_KEY)
        return self

    def read_api_key(self) -> SecretStr:
        """Return the API key, from its file if there is one.

        Raises:
            ValueError: The file has changed and no longer holds an API key.
        """
        if self.api_key is not None:
            return self.api_key
        if self.api_key_file is None:
            raise ValueError(_ONE_API_KEY)
        return _read_api_key(self.api_key_file)


class AssertionKeySettings(Table):
    """A key that signs assertions to D1."""

    file: PrivateFile
    """Private key: EC P-256, PEM or JWK."""
    kid: KeyId
    """The `kid` of the public key at D1."""
    passphrase_file: PrivateFile | None = None
    """File with the key's passphrase only. Unset: the key is not encrypted."""


class D1EncryptionKeySettings(Table):
    """A public key of D1 that encrypts card data."""

    file: ReadableFile
    """D1's public key: EC P-256, PEM or JWK."""
    kid: KeyId
    """The `kid` assigned by D1."""
    active_from: AwareDatetime | None = None
    """Start of use, with a UTC offset: `2027-03-01T06:00:00Z`. Unset: in use until another key becomes active."""


# A constraint of the field would also report a missing key for each invalid one.
def _one_or_two(keys: tuple[_Key, ...]) -> tuple[_Key, ...]:
    return not_empty(_at_most_two(keys))


def _at_most_two(keys: tuple[_Key, ...]) -> tuple[_Key, ...]:
    if len(keys) > _MAX_KEYS:
        raise ValueError("expected one or two keys")
    return keys


def _expect_distinct(
    setting: str, keys: tuple[AssertionKeySettings, ...] | tuple[D1EncryptionKeySettings, ...]
) -> None:
    kids = [key.kid for key in keys]
    if len(set(kids)) < len(kids):
        raise ValueError(f"{setting}: duplicate kid {kids[0]}")


class AggregatorSettings(Table):
    """An aggregator, whom D1 knows in place of several issuers."""

    assertion_keys: Annotated[tuple[AssertionKeySettings, ...], AfterValidator(_one_or_two)]
    """One or two keys of the aggregator that sign assertions. The second is used if D1 rejects the first."""

    @model_validator(mode="after")
    def _keys_are_distinct(self) -> "AggregatorSettings":
        _expect_distinct("assertion_keys", self.assertion_keys)
        return self


class IssuerSettings(Table):
    """The keys and the client certificate of one issuer. See docs/keys.md for their rotation."""

    tls_certificate_file: ReadableFile | None = None
    """The issuer's own client certificate for D1, signed by Thales (PEM). Its calls and tokens then have their own
    connections, limits and circuit breaker; issuers that name the same files share them. Unset: that of `[d1]`."""
    tls_key_file: PrivateFile | None = None
    """Private key of the client certificate (PEM)."""
    tls_key_passphrase_file: PrivateFile | None = None
    """File with the private key's passphrase only. Unset: the key is not encrypted."""
    aggregator: AggregatorId | None = None
    """The aggregator whose access token serves this issuer: the `<aggregator id>` of a table `[aggregators]`. Unset:
    the issuer has a token of its own."""
    assertion_keys: Annotated[tuple[AssertionKeySettings, ...], AfterValidator(_at_most_two)] = ()
    """One or two keys that sign assertions, unless an aggregator does. The second is used if D1 rejects the first."""
    d1_encryption_keys: Annotated[tuple[D1EncryptionKeySettings, ...], AfterValidator(_one_or_two)]
    """One or two keys that encrypt card data. The latest active one is used."""

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> "IssuerSettings":
        expect_key(self.tls_certificate_file, self.tls_key_file, self.tls_key_passphrase_file)
        return self

    @model_validator(mode="after")
    def _one_signs(self) -> "IssuerSettings":
        if bool(self.assertion_keys) == (self.aggregator is not None):
            raise ValueError("set either assertion_keys or aggregator")
        return self

    @model_validator(mode="after")
    def _keys_are_distinct(self) -> "IssuerSettings":
        _expect_distinct("assertion_keys", self.assertion_keys)
        _expect_distinct("d1_encryption_keys", self.d1_encryption_keys)
        times = [key.active_from for key in self.d1_encryption_keys]
        if len(set(times)) < len(times):
            raise ValueError("d1_encryption_keys: active_from must differ between the two keys")
        return self
