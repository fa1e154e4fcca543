"""Settings as text, for people: TOML with every default filled in and every secret masked."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from gateway.settings import Settings

__all__ = ["effective"]

_MASKED = frozenset({"client_secret_sha256"})
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def effective(settings: Settings) -> str:
    """Return the effective settings as TOML that `load` reads again, but for what is masked."""
    return "\n".join(_table("", settings.model_dump())).strip()


def _table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    if name and plain:
        yield f"\n[{name}]"
    for key, value in plain.items():
        yield f"# {key} is not set" if value is None else f"{key} = {_value(key, value)}"
    for key, value in nested.items():
        quoted = key if _BARE_KEY.fullmatch(key) else orjson.dumps(key).decode()
        yield from _table(f"{name}.{quoted}" if name else quoted, value)


def _value(key: str, value: object) -> str:
    if key in _MASKED or isinstance(value, SecretStr):
        return '"***"'
    # A JSON string, number or boolean is one of TOML's too.
    return orjson.dumps(str(value) if isinstance(value, Path) else value).decode()
