"""Settings as TOML for people, with all defaults and with secrets masked."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from pydantic import SecretStr

from gateway.settings.loading import Settings

__all__ = ["effective"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def effective(settings: Settings) -> str:
    """Return the effective settings as TOML. `load` can read it, except for masked values."""
    return "\n".join(_table("", settings.model_dump())).strip()


def _table(name: str, values: Mapping[str, Any], header: str = "[{}]") -> Iterator[str]:
    nested = {key: value for key, value in values.items() if isinstance(value, Mapping) or _are_tables(value)}
    plain = {key: value for key, value in values.items() if key not in nested}
    if name and plain:
        yield "\n" + header.format(name)
    for key, value in plain.items():
        yield f"# {key} is not set" if value is None else f"{key} = {_value(value)}"
    for key, value in nested.items():
        quoted = key if _BARE_KEY.fullmatch(key) else orjson.dumps(key).decode()
        path = f"{name}.{quoted}" if name else quoted
        if isinstance(value, Mapping):
            yield from _table(path, value)
        else:
            for each in value:
                yield from _table(path, each, "[[{}]]")


def _are_tables(value: object) -> bool:
    return isinstance(value, tuple) and any(isinstance(each, Mapping) for each in value)


def _value(value: object) -> str:
    if isinstance(value, SecretStr):
        return '"***"'
    if isinstance(value, datetime):
        return value.isoformat()
    # JSON strings, numbers, booleans and lists of them are valid TOML; paths and IP networks are strings.
    return orjson.dumps(value, default=str).decode()
