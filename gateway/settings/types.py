"""The types of settings values, and tables that reject unknown settings."""

import ipaddress
import os
import re
from collections.abc import Sized
from pathlib import Path
from typing import Annotated, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema

from gateway.settings import private_files

__all__ = [
    "AggregatorId",
    "DocumentUrl",
    "HttpsOrigin",
    "Identifier",
    "IpNetwork",
    "IssuerId",
    "KeyId",
    "NatsUrl",
    "Origin",
    "Port",
    "PositiveInt",
    "PrivateFile",
    "ReadableFile",
    "Seconds",
    "Table",
    "expect_key",
    "is_loopback",
    "not_empty",
]

_Values = TypeVar("_Values", bound=Sized)

# Without user info, because `config check` and error messages show the URL.
_ORIGIN: Final = r"(https://[^/\s?#@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)"
_USER: Final = re.compile("://[^/?#]*@")

AggregatorId = Annotated[str, StringConstraints(min_length=1)]
IssuerId = Annotated[str, StringConstraints(min_length=10, max_length=10)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
PositiveInt = Annotated[int, Field(ge=1)]
KeyId = Annotated[str, StringConstraints(min_length=1)]


def expect_key(certificate_file: Path | None, key_file: Path | None, passphrase_file: Path | None = None) -> None:
    """Check that an optional certificate comes with its key, and a passphrase with a key.

    Raises:
        ValueError: One of them is missing.
    """
    if (certificate_file is None) != (key_file is None):
        raise ValueError("set both tls_certificate_file and tls_key_file, or neither")
    if passphrase_file is not None and key_file is None:
        raise ValueError("tls_key_passphrase_file requires tls_key_file")


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def not_empty(values: _Values) -> _Values:
    """Return a collection, or raise `ValueError` if it is empty.

    A constraint of the field would also report an empty collection if all its entries are invalid.
    """
    if not values:
        raise ValueError("must not be empty")
    return values


def _readable(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"file not found: {path}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"file not readable: {path}")
    return path


def _private(path: Path) -> Path:
    private_files.check(_readable(path))
    return path


def _url(form: str, words: str) -> AfterValidator:
    """Return the check of a URL. A pattern of pydantic's would be quoted in the message."""
    pattern = re.compile(form)

    def check(url: str) -> str:
        if pattern.fullmatch(url) is None:
            raise ValueError(f"must be {words}")
        # Raises for an invalid port, and for unbalanced brackets of an IPv6 address.
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            raise ValueError("must include a host and a valid port")
        return url

    return AfterValidator(check)


def _without_user(identifier: str) -> str:
    if _USER.search(identifier):
        raise ValueError("must not include a user or a password")
    return identifier


def _without_query(url: str) -> str:
    path, mark, query = url.partition("?")
    return f"{path}?***" if query else path + mark


# docs/settings.md shows the formats.
_URL_FORMAT: Final = WithJsonSchema({"type": "string", "format": "URL"})

Origin = Annotated[
    str,
    _url(_ORIGIN, "https://host or https://host:port, without a path or a user; http:// on loopback only"),
    _URL_FORMAT,
]
"""A server's address, without a path. Plain HTTP on loopback only."""
HttpsOrigin = Annotated[
    str, _url(r"https://[^/\s?#@]+", "https://host or https://host:port, without a path or a user"), _URL_FORMAT
]
"""A server's HTTPS address, without a path."""
NatsUrl = Annotated[
    str,
    _url(r"(nats|tls)://[^/\s?#@]+", "nats://host:port or tls://host:port, without a path, a user or a password"),
    _URL_FORMAT,
]
"""The address of a NATS server."""
DocumentUrl = Annotated[
    str,
    _url(rf"{_ORIGIN}([/?][^\s#]*)?", "an https:// URL without a user or a fragment; http:// on loopback only"),
    PlainSerializer(_without_query),
    _URL_FORMAT,
]
"""A document's address. Plain HTTP on loopback only. The query may hold a secret and is masked in output."""
Identifier = Annotated[str, AfterValidator(_without_user)]
"""An agreed name, often in the form of a URL."""
ReadableFile = Annotated[Path, AfterValidator(_readable), WithJsonSchema({"type": "string", "format": "file"})]
PrivateFile = Annotated[Path, AfterValidator(_private), WithJsonSchema({"type": "string", "format": "private file"})]
IpNetwork: TypeAlias = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network, WithJsonSchema({"type": "string", "format": "IP network"})
]


class Table(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
