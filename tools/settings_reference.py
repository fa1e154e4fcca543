"""Writes or checks docs/settings.md: ``python tools/settings_reference.py write | check``."""

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.settings import FILE_VARIABLE, Settings
from gateway.settings.schema import Schema, reference, schema, variable

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "settings.md"

_INTRODUCTION = f"""\
# Settings

Generated from `gateway/settings`; `make generate` updates this page.

Settings come from a TOML file and from environment variables, which take precedence. The option `--config` or the
variable `{FILE_VARIABLE}` names the file. Unknown settings are rejected, with the one that was probably meant.

- `d1-gateway config init --shape embedded|cluster|behind-proxy FILE` writes a commented file to begin with.
- `d1-gateway config check` validates the settings and prints them with their defaults; secrets are masked. With
  `--connect` it tries [what they name](operations.md#trying-the-connections).
- `d1-gateway config schema` prints the JSON Schema of the file, for editors that check while you type.

A *file* must exist and be readable. A *private file* must belong to the gateway's user with mode 0600 or less, or to
root with mode 0640 or less ([why](keys.md#who-may-read-a-private-file)). A *secret* is never printed or logged. Units
are part of the names.

## In the file and in the environment

| Type | In the file (TOML) | In an environment variable |
| --- | --- | --- |
| string, file, URL, secret | `host = "0.0.0.0"` | `D1_GATEWAY_GRPC__HOST=0.0.0.0`, as it is, without quotes |
| integer, number | `port = 8443` | `D1_GATEWAY_GRPC__PORT=8443` |
| boolean | `reuse_port = true` | `D1_GATEWAY_GRPC__REUSE_PORT=true` |
| list | `networks = ["10.1.2.3/32"]` | `D1_GATEWAY_EDGE__PROXY__NETWORKS=["10.1.2.3/32"]`, in JSON |
| date and time | `active_from = 2027-03-01T06:00:00Z` | in JSON only, as a string: `"2027-03-01T06:00:00Z"` |
| table | `[event_log]` and its settings | one for each setting, with two underscores after the table; or the whole \
table in JSON: `D1_GATEWAY_EVENT_LOG={{"path": "events.db"}}` |
| tables by id | `[issuers.ISSUER0001]` | the whole of `issuers` in JSON: ids have upper and lower case |
| unset | leave it out | leave the variable out; an empty one is an empty value |

A variable replaces its setting in the file; where both set parts of a table, the parts are joined. Lists are replaced
as a whole. An issuer in one variable:

```sh
export D1_GATEWAY_ISSUERS='{{"ISSUER0001": {{
  "assertion_keys": [{{"file": "/etc/d1-gateway/assertion.jwk.json", "kid": "assertion-2026"}}],
  "d1_encryption_keys": [{{"file": "/etc/d1-gateway/d1-encryption.jwk", "kid": "d1-2026"}}]}}}}'
```

## Outside of tables
"""
_NOUNS = {"password": "secret", "date-time": "date and time"}
_KEYS = {"aggregators": "aggregator id", "clients": "issuer id", "issuers": "issuer id"}
"""What the tables of a mapping are named after."""


def render() -> str:
    """Return the reference as Markdown."""
    document = schema(Settings)
    return _INTRODUCTION + "\n".join(_sections(document, document["$defs"])) + "\n"


def _sections(table: Schema, definitions: Schema, path: str = "", *, has_variables: bool = True) -> Iterator[str]:
    nested = {key: field for key, field in table["properties"].items() if reference(field)}
    plain = {key: field for key, field in table["properties"].items() if key not in nested}
    if plain:
        yield from _rows(plain, set(table.get("required", ())), path, has_variables=has_variables)
    for key, field in nested.items():
        place = f"{path}.{key}" if path else key
        is_list, is_mapping = "items" in field, "additionalProperties" in field
        place += f".<{_KEYS[key]}>" if is_mapping else ""
        definition = definitions[reference(field)]
        yield f"\n## `{f'[[{place}]]' if is_list else f'[{place}]'}`\n"
        yield textwrap.fill(_text(field) + _obligation(key, field, table), 120)
        if is_mapping:
            yield f"\nEnvironment variable of the whole table, as JSON: `{_variable(path, key)}`."
        yield from _sections(
            definition, definitions, place, has_variables=has_variables and not is_list and not is_mapping
        )


def _rows(fields: Schema, required: set[str], path: str, *, has_variables: bool) -> Iterator[str]:
    headings = ["Setting", "Type", "Default", *(["Environment variable"] if has_variables else []), "Meaning"]
    yield f"\n{_row(headings)}\n{_row(['---'] * len(headings))}"
    for key, field in fields.items():
        default = "required" if key in required else _default(field["default"])
        as_json = " (JSON)" if field.get("type") == "array" else ""
        variable = [f"`{_variable(path, key)}`{as_json}"] if has_variables else []
        yield _row([f"`{key}`", _type(field), default, *variable, _text(field)])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _variable(path: str, key: str) -> str:
    return variable([*path.split("."), key] if path else [key])


def _text(field: Schema) -> str:
    return str(field["description"])


def _obligation(key: str, field: Schema, table: Schema) -> str:
    if key in table.get("required", ()):
        return " Required."
    return " Optional." if field.get("default", ...) is None else ""


def _default(value: object) -> str:
    return "unset" if value is None else f"`{json.dumps(value)}`"


def _type(field: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_type(part) for part in field["anyOf"] if part["type"] != "null")
    if "enum" in field:
        return _choice(field["enum"])
    if field["type"] == "array":
        return "list of " + (_type(field["items"]) if "enum" in field["items"] else f"{_noun(field['items'])}s")
    if field["type"] in ("integer", "number"):
        return f"{field['type']}{_range(field)}"
    return _noun(field) + _length(field)


def _noun(field: Schema) -> str:
    noun: str = field.get("format", field["type"])
    return _NOUNS.get(noun, noun)


def _choice(values: list[object]) -> str:
    *others, last = (f"`{value}`" for value in values)
    return f"{', '.join(others)} or {last}"


def _range(field: Schema) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if "exclusiveMinimum" in field:
        return f" above {field['exclusiveMinimum']}" + ("" if most is None else f", at most {most}")
    return "" if least is None else f", at least {least}"


def _length(field: Schema) -> str:
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
