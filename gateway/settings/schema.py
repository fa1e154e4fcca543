"""The settings as JSON Schema (draft 2020-12), with the docstrings as descriptions; and what is found in it."""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

__all__ = ["ENVIRONMENT_PREFIX", "Schema", "reference", "schema", "suggested", "suggested_variable", "variable"]

ENVIRONMENT_PREFIX: Final = "D1_GATEWAY_"

Schema: TypeAlias = Mapping[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema(settings: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of all settings, each with its docstring.

    Formats beside JSON Schema's own: `file`, `private file` (docs/settings.md says what they are), `URL`, `IP network`.
    """
    # Pydantic's `use_attribute_docstrings` would parse the sources at each start of the gateway.
    document = settings.model_json_schema()
    for name, definition in {settings.__name__: document, **document["$defs"]}.items():
        for key, meaning in _meanings(_table(name)).items():
            definition["properties"][key]["description"] = " ".join(meaning.split())
    return {"$schema": _DIALECT, **document}


def _table(name: str) -> type[BaseModel]:
    table: type[BaseModel] = getattr(sys.modules[__package__], name)
    return table


def _meanings(table: type[BaseModel]) -> dict[str, str]:
    """Return the docstring of each setting of a table, by key."""
    meanings = {}
    for part in reversed(table.__mro__):
        source = inspect.getsource(part) if part.__module__.startswith(f"{__package__}.") else ""
        for definition in ast.parse(source).body:
            for pair in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
                match pair:
                    case ast.AnnAssign(target=ast.Name(key)), ast.Expr(ast.Constant(str(meaning))):
                        meanings[key] = meaning
    return meanings


def reference(field: Schema) -> str:
    """Return the name of the table of a field, alone, in a list or by key; empty for a plain value."""
    for part in (field, *field.get("anyOf", ()), field.get("items", {}), field.get("additionalProperties", {})):
        if isinstance(part, Mapping) and "$ref" in part:
            return str(part["$ref"]).rpartition("/")[2]
    return ""


def variable(path: Sequence[str]) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + "__".join(path).upper()


def suggested(settings: type[BaseModel], path: Sequence[str | int], *, in_environment: bool = False) -> str:
    """Return the setting that an unknown one was probably meant to be; empty if none is like it.

    Args:
        settings: All settings.
        path: Keys and list indexes of the unknown setting.
        in_environment: Whether to return the environment variable instead of the path.
    """
    *table, name = map(str, path)
    document = settings.model_json_schema()
    keys = _properties(document, table)
    found = [[*table, near] for near in get_close_matches(name, keys, n=1, cutoff=0.75)]
    # Else the right name in another table, or else the most similar one in this one.
    found += [known for known in _paths(document, document) if known[-1] == name]
    found += [[*table, near] for near in get_close_matches(name, keys, n=1)]
    if not found:
        return ""
    return variable(found[0]) if in_environment else ".".join(found[0])


def suggested_variable(settings: type[BaseModel], name: str) -> str:
    """Return the environment variable that an unknown one was probably meant to be; empty if none is like it."""
    document = settings.model_json_schema()
    # Without the prefix, which makes all of them alike.
    known = {variable(path).removeprefix(ENVIRONMENT_PREFIX) for path in _paths(document, document, tables=True)}
    near = get_close_matches(name.upper().removeprefix(ENVIRONMENT_PREFIX), known, n=1, cutoff=0.75)
    return f"{ENVIRONMENT_PREFIX}{near[0]}" if near else ""


def _properties(document: Schema, table: Sequence[str]) -> Sequence[str]:
    """Return the keys of the table at a path, in which ids and indexes stand for themselves."""
    place: Schema = document
    parts = iter(table)
    for part in parts:
        field = place["properties"].get(part, {})
        name = reference(field)
        if not name:
            return ()
        if "items" in field or "additionalProperties" in field:
            next(parts, None)
        place = document["$defs"][name]
    return tuple(place["properties"])


def _paths(document: Schema, table: Schema, *before: str, tables: bool = False) -> Iterator[list[str]]:
    """Return the paths of the settings that have a variable of their own: those in no list and under no id."""
    for key, field in table["properties"].items():
        name = reference(field)
        is_single = not {"items", "additionalProperties"} & field.keys()
        if not name or not is_single or tables:
            yield [*before, key]
        if name and is_single:
            yield from _paths(document, document["$defs"][name], *before, key, tables=tables)
