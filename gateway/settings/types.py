"""What settings are made of: the kinds of values, and tables that refuse what they do not know."""

import ipaddress
import os
import re
from collections.abc import Sized
from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

__all__ = [
    "DocumentUrl",
    "Identifier",
    "IssuerId",
    "KeyId",
    "Origin",
    "Port",
    "PrivateFile",
    "ReadableFile",
    "Seconds",
    "Table",
    "filled",
    "is_loopback",
    "reachable",
]

_Values = TypeVar("_Values", bound=Sized)

# Without a user: what is read here is printed by `config check`, and quoted in messages.
_ORIGIN: Final = r"(https://[^/\s?#@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)"
_USER: Final = re.compile("://[^/?#]*@")

IssuerId = Annotated[str, StringConstraints(min_length=10, max_length=10)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
KeyId = Annotated[str, StringConstraints(min_length=1)]


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
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


def reachable(url: str) -> str:
    """Return an address that names a host and a port that can be had.

    Raises:
        ValueError: It does not.
    """
    # Raises itself what is wrong with a port, or with the brackets of an IPv6 address.
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("it names no host and port that can be reached")
    return url


def filled(values: _Values) -> _Values:
    """Return what holds something. A constraint of the field would complain besides where all that it holds is wrong.

    Raises:
        ValueError: It is empty.
    """
    if not values:
        raise ValueError("there has to be at least one")
    return values


def _without_user(identifier: str) -> str:
    if _USER.search(identifier):
        raise ValueError("it must not hold a user or a password")
    return identifier


def _without_query(url: str) -> str:
    path, mark, query = url.partition("?")
    return f"{path}?***" if query else path + mark


Origin = Annotated[str, StringConstraints(pattern=f"^{_ORIGIN}$"), AfterValidator(reachable)]
"""A server's address, without a path. Plain HTTP only on loopback."""
DocumentUrl = Annotated[
    str,
    StringConstraints(pattern=rf"^{_ORIGIN}([/?][^\s#]*)?$"),
    AfterValidator(reachable),
    PlainSerializer(_without_query),
]
"""Where a document is. Plain HTTP only on loopback. Its query may hold a secret, and is not printed."""
Identifier = Annotated[str, AfterValidator(_without_user)]
"""What parties agreed on to be called; often it looks like a URL."""
ReadableFile = Annotated[Path, AfterValidator(_readable)]
PrivateFile = Annotated[Path, AfterValidator(_private)]


class Table(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)
