"""The rule tables: which fields a message has in a version, and what each of them has to be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import orjson

from gateway.threeds.rules.conditions import Condition, parse

__all__ = ["ALWAYS", "CATEGORIES", "CHANNELS", "MESSAGES", "VERSIONS", "Row", "Table", "objects", "table"]

VERSIONS = ("2.1.0", "2.2.0", "2.3.1")
"""The protocol versions that the tables know, oldest first."""

CHANNELS: Mapping[str, str] = {"01": "APP", "02": "BRW", "03": "3RI"}
"""The names that the tables use for the codes of ``deviceChannel``."""

CATEGORIES: Mapping[str, str] = {"01": "PA", "02": "NPA", "80": "PA"}
"""The names that the tables use for the codes of ``messageCategory``. Mastercard's data-only messages (80) have the
fields of a payment."""

MESSAGES = ("AReq", "ARes", "CRD", "CReq", "CRes", "Erro", "PostAuth", "PreAuth", "RReq")
"""The messages that have a table. PreAuth and PostAuth are what the 3DS server takes at these addresses."""

ALWAYS = "always"
"""The ``required`` of a field that no condition excuses."""


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a message or object, in the versions in which the same is asked of it."""

    name: str
    """The EMV name, which is also the JSON name."""
    versions: tuple[str, ...] = VERSIONS
    type: str = "string"
    """``string``, ``bool``, ``json`` (an object of any content) or the name of an object or message."""
    array: bool = False
    """Whether it is a list of these."""
    scope: tuple[str, ...] = ()
    """The channels (``APP``), or channels with a category (``APP/PA``), that have it; empty if all do."""
    required: str = ""
    """When it has to be there: `ALWAYS`, a condition, or empty for never. Counts only inside the scope."""
    codes: tuple[str, ...] = ()
    """The values that it may have, ranges written as ``80-99``; empty if they are not listed."""
    pattern: str = ""
    """A regular expression for the whole of a value, or of a list's item."""
    format: str = ""
    """A format of `gateway.threeds.rules.formats`."""
    min: int = 0
    """The least length: characters of a string, items of a list."""
    max: int | None = None
    """The greatest length: characters of a string or of a ``json`` value's compact text, items of a list."""
    range: tuple[int, int] | None = None
    """The least and the greatest number that a string of digits may stand for."""
    utf8: bool = False
    """Whether it may hold more than ASCII where its message may not."""
    was: str = ""
    """What the source said instead, where that is an evident misprint."""

    def used_in(self, channel: str, category: str) -> bool:
        """Tell whether a channel and category (codes) have this field."""
        name = CHANNELS[channel]
        return not self.scope or name in self.scope or f"{name}/{CATEGORIES[category]}" in self.scope

    @property
    def condition(self) -> Condition | None:
        """The condition under which it is required; None if there is none."""
        return parse(self.required) if self.required not in {"", ALWAYS} else None


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of a message or object, over all versions."""

    name: str
    rows: tuple[Row, ...]
    ascii: bool = False
    """Whether all of its text has to be ASCII."""

    def fields(self, version: str) -> dict[str, Row]:
        """Return the fields of one version by name."""
        return {row.name: row for row in self.rows if version in row.versions}


@cache
def table(message: str) -> Table:
    """Return the table of a message.

    Args:
        message: One of `MESSAGES`.

    Raises:
        FileNotFoundError: There is none.
    """
    data = _load(message.lower())
    return Table(data["message"], _rows(data["rows"]), ascii=data["ascii"])


@cache
def objects() -> Mapping[str, Table]:
    """Return the tables of the objects that stand inside messages, and of the messages that may, by name."""
    inner = {name: Table(name, _rows(rows)) for name, rows in _load("objects").items()}
    return inner | {"Erro": table("Erro")}


def _load(name: str) -> Any:
    return orjson.loads(resources.files(__package__).joinpath("data", f"{name}.json").read_bytes())


def _rows(rows: Iterable[dict[str, Any]]) -> tuple[Row, ...]:
    return tuple(_row(row) for row in rows)


def _row(data: dict[str, Any]) -> Row:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Row(**values)
