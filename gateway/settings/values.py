"""What settings are made of: the kinds of values, and tables that refuse what they do not know."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["IssuerId", "KeyId", "Port", "PrivateFile", "ReadableFile", "Seconds", "Table", "is_loopback", "reachable"]

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


ReadableFile = Annotated[Path, AfterValidator(_readable)]
PrivateFile = Annotated[Path, AfterValidator(_private)]


class Table(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)
