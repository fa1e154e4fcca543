"""Writes or checks docs/settings.md: ``python tools/settings_reference.py write | check``."""

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway import settings
from gateway.settings import FILE_VARIABLE, Settings
from gateway.settings.loading import ENVIRONMENT_PREFIX

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "settings.md"

_INTRODUCTION = f"""\
# Settings

Generated from `gateway/settings`; `make generate` updates this page.

Settings come from a TOML file and from environment variables, which take precedence. The option `--config` or the
variable `{FILE_VARIABLE}` names the file. Lists and tables in a variable are JSON. Unknown settings are
rejected. `d1-gateway config check` validates the settings and prints them with their defaults; secrets are masked.

A *file* must exist and be readable. A *private file* must belong to the gateway's user with mode 0600 or less, or to
root with mode 0640 or less ([why](keys.md#who-may-read-a-private-file)). A *secret* is never printed or logged. Units
are part of the names.
"""
_NOUNS = {"password": "secret", "date-time": "date and time"}
_KEYS = {"aggregators": "aggregator id", "clients": "issuer id", "issuers": "issuer id"}
"""What the tables of a mapping are named after."""
_Schema = Mapping[str, Any]


def render() -> str:
    """Return the reference as Markdown."""
    schema = Settings.model_json_schema()
    for name, definition in {Settings.__name__: schema, **schema["$defs"]}.items():
        for key, meaning in _meanings(getattr(settings, name)).items():
            definition["properties"][key]["description"] = meaning
    return _INTRODUCTION + "\n".join(_sections(schema, schema["$defs"])) + "\n"


def _meanings(table: type[BaseModel]) -> dict[str, str]:
    """Return the docstring of each setting of a table, by key."""
    # Pydantic's `use_attribute_docstrings` would parse the sources at each start of the gateway.
    meanings = {}
    for part in reversed(table.__mro__):
        source = inspect.getsource(part) if part.__module__.startswith(settings.__name__) else ""
        for definition in ast.parse(source).body:
            for pair in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
                match pair:
                    case ast.AnnAssign(target=ast.Name(key)), ast.Expr(ast.Constant(str(meaning))):
                        meanings[key] = meaning
    return meanings


def _sections(table: _Schema, definitions: _Schema, path: str = "", *, has_variables: bool = True) -> Iterator[str]:
    nested = {key: field for key, field in table["properties"].items() if _reference(field)}
    plain = {key: field for key, field in table["properties"].items() if key not in nested}
    if plain:
        yield from _rows(plain, set(table.get("required", ())), path, has_variables=has_variables)
    for key, field in nested.items():
        place = f"{path}.{key}" if path else key
        is_list, is_mapping = "items" in field, "additionalProperties" in field
        place += f".<{_KEYS[key]}>" if is_mapping else ""
        definition = definitions[_reference(field).rpartition("/")[2]]
        yield f"\n## `{f'[[{place}]]' if is_list else f'[{place}]'}`\n"
        yield textwrap.fill(_text(field) + _obligation(key, field, table), 120)
        if is_mapping:
            yield f"\nEnvironment variable of the whole table, as JSON: `{_variable(path, key)}`."
        yield from _sections(
            definition, definitions, place, has_variables=has_variables and not is_list and not is_mapping
        )


def _rows(fields: _Schema, required: set[str], path: str, *, has_variables: bool) -> Iterator[str]:
    headings = ["Setting", "Type", "Default", *(["Environment variable"] if has_variables else []), "Meaning"]
    yield f"\n{_row(headings)}\n{_row(['---'] * len(headings))}"
    for key, field in fields.items():
        default = "required" if key in required else _default(field["default"])
        variable = [f"`{_variable(path, key)}`"] if has_variables else []
        yield _row([f"`{key}`", _type(field), default, *variable, _text(field)])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _variable(path: str, key: str) -> str:
    return ENVIRONMENT_PREFIX + "__".join([*path.split("."), key] if path else [key]).upper()


def _text(field: _Schema) -> str:
    return " ".join(field["description"].split())


def _obligation(key: str, field: _Schema, table: _Schema) -> str:
    if key in table.get("required", ()):
        return " Required."
    return " Optional." if field.get("default", ...) is None else ""


def _default(value: object) -> str:
    return "unset" if value is None else f"`{json.dumps(value)}`"


def _reference(field: _Schema) -> str:
    """Return the reference to the table of a field, alone, in a list or by key; empty for a plain value."""
    for part in (field, *field.get("anyOf", ()), field.get("items", {}), field.get("additionalProperties", {})):
        if isinstance(part, Mapping) and "$ref" in part:
            return str(part["$ref"])
    return ""


def _type(field: _Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_type(part) for part in field["anyOf"] if part["type"] != "null")
    if "enum" in field:
        return _choice(field["enum"])
    if field["type"] == "array":
        return "list of " + (_type(field["items"]) if "enum" in field["items"] else f"{_noun(field['items'])}s")
    if field["type"] in ("integer", "number"):
        return f"{field['type']}{_range(field)}"
    return _noun(field) + _length(field)


def _noun(field: _Schema) -> str:
    noun: str = field.get("format", field["type"])
    return _NOUNS.get(noun, noun)


def _choice(values: list[object]) -> str:
    *others, last = (f"`{value}`" for value in values)
    return f"{', '.join(others)} or {last}"


def _range(field: _Schema) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if "exclusiveMinimum" in field:
        return f" above {field['exclusiveMinimum']}" + ("" if most is None else f", at most {most}")
    return "" if least is None else f", at least {least}"


def _length(field: _Schema) -> str:
    least, most = field.get("minLength"), field.get("maxLength")
    limits = {
        (True, True): f", {least} to {most} characters",
        (True, False): ", not empty",
        (False, True): f", at most {most} characters",
        (False, False): "",
    }
    pattern = f", matching `{field['pattern']}`" if "pattern" in field else ""
    return limits[least is not None, most is not None] + pattern


def write() -> None:
    """Write the reference."""
    REFERENCE.write_text(render(), encoding="utf-8")


def check() -> None:
    """Fail if ``write`` would change the reference."""
    if not REFERENCE.exists() or REFERENCE.read_text(encoding="utf-8") != render():
        sys.exit(f"{REFERENCE.relative_to(ROOT)} is not what `make generate` writes")


if __name__ == "__main__":
    commands: dict[str, Callable[[], None]] = {"write": write, "check": check}
    command = commands.get(" ".join(sys.argv[1:]))
    if command is None:
        sys.exit(__doc__)
    command()
