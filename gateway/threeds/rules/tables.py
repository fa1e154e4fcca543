"""The rule tables: the fields of each message and version, and their rules."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Any

import orjson

from gateway.threeds.rules.conditions import Condition, parse

__all__ = ["ALWAYS", "CATEGORIES", "CHANNELS", "DS_DEFINED", "MESSAGES", "VERSIONS", "Row", "Table", "objects", "table"]

VERSIONS = ("2.1.0", "2.2.0", "2.3.1")
"""The protocol versions in the tables, oldest first."""

CHANNELS: Mapping[str, str] = {"01": "APP", "02": "BRW", "03": "3RI"}
"""The names in the tables for the codes of ``deviceChannel``."""

CATEGORIES: Mapping[str, str] = {"01": "PA", "02": "NPA", "80": "PA"}
"""The names in the tables for the codes of ``messageCategory``. Mastercard's data-only messages (80) have the
fields of a payment."""

DS_DEFINED = "80-99"
"""Stands for a code of ``deviceChannel`` or ``messageCategory`` that a DS defines, of which the tables say nothing."""

MESSAGES = ("AReq", "ARes", "CRD", "CReq", "CRes", "Erro", "PostAuth", "PreAuth", "RReq")
"""The messages with a table. PreAuth and PostAuth are the bodies of the 3DS server's endpoints of these names."""

ALWAYS = "always"
"""The ``required`` of a field that is required without condition."""


@dataclass(frozen=True, slots=True)
class Row:
    """A field of a message or object, in the versions with the same rules."""

    name: str
    """The EMV name, which is also the JSON name."""
    versions: tuple[str, ...] = VERSIONS
    type: str = "string"
    """``string``, ``bool``, ``json`` (an object of any content) or the name of an object or message."""
    array: bool = False
    """Whether the field is a list."""
    scope: tuple[str, ...] = ()
    """The channels (``APP``), or channels with a category (``APP/PA``), that use the field; empty for all."""
    required: str = ""
    """When the field is required: `ALWAYS`, a condition, or empty for never. Applies only inside the scope."""
    codes: tuple[str, ...] = ()
    """The valid values, with ranges such as ``80-99``; empty if not listed."""
    pattern: str = ""
    """A regular expression for the whole of a value, or of a list's item."""
    format: str = ""
    """A format of `gateway.threeds.rules.formats`."""
    min: int = 0
    """The minimum length: characters of a string, items of a list."""
    max: int | None = None
    """The maximum length: characters of a string or of a ``json`` value's compact text, items of a list."""
    range: tuple[int, int] | None = None
    """The minimum and maximum of a string of digits, as a number."""
    utf8: bool = False
    """Whether the field may have non-ASCII text even if its message may not."""
    was: str = ""
    """What the source says, where it contradicts itself or is an evident misprint."""

    def used_in(self, channel: str, category: str) -> bool:
        """Return whether a channel and category (codes) use this field; of those that a DS defines, whether any may."""
        return any(self._used_in(*scene) for scene in _scenes(channel, category))

    def common_in(self, channel: str, category: str) -> bool:
        """Return what `used_in` does; of a channel or category that a DS defines, whether every other one has it."""
        return all(self._used_in(*scene) for scene in _scenes(channel, category))

    def _used_in(self, channel: str, category: str) -> bool:
        return not self.scope or channel in self.scope or f"{channel}/{category}" in self.scope

    @property
    def condition(self) -> Condition | None:
        """The condition under which the field is required; None if there is none."""
        return parse(self.required) if self.required not in {"", ALWAYS} else None


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of a message or object, over all versions."""

    name: str
    rows: tuple[Row, ...]
    ascii: bool = False
    """Whether all text must be ASCII."""

    def fields(self, version: str) -> dict[str, Row]:
        """Return the fields of one version by name."""
        return {row.name: row for row in self.rows if version in row.versions}


@cache
def table(message: str) -> Table:
    """Return the table of a message.

    Args:
        message: One of `MESSAGES`.

    Raises:
        FileNotFoundError: There is no such table.
    """
    data = _load(message.lower())
    return Table(data["message"], _rows(data["rows"]), ascii=data["ascii"])


@cache
def objects() -> Mapping[str, Table]:
    """Return the tables of the objects inside messages, and of messages that may be inside others, by name."""
    inner = {name: Table(name, _rows(rows)) for name, rows in _load("objects").items()}
    return inner | {"Erro": table("Erro")}


def _scenes(channel: str, category: str) -> Iterable[tuple[str, str]]:
    """Return the names of a channel with those of a category: all that there are for a code that a DS defines."""
    channels = [CHANNELS[channel]] if channel in CHANNELS else CHANNELS.values()
    categories = [CATEGORIES[category]] if category in CATEGORIES else CATEGORIES.values()
    return product(channels, categories)


def _load(name: str) -> Any:
    return orjson.loads(resources.files(__package__).joinpath("data", f"{name}.json").read_bytes())


def _rows(rows: Iterable[dict[str, Any]]) -> tuple[Row, ...]:
    return tuple(_row(row) for row in rows)


def _row(data: dict[str, Any]) -> Row:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Row(**values)
