"""Writes or checks docs/d1-assumptions.md: ``python tools/d1_assumptions.py write | check``."""

import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.d1.api import endpoints
from adapters.d1.assumptions import CONTRACT, SETTINGS, Assumption
from adapters.d1.callbacks import schema
from adapters.d1.openapi import Exchange, exchanges
from gateway.settings import Settings
from tools.d1_declarations import Name, behaviour, file_of, names, shapes, uses

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "d1-assumptions.md"

_INTRODUCTION = """\
# What is assumed about D1

Generated from `adapters/d1`; `make generate` updates this page.

Thales gives D1's specification to its customers only. The gateway rests on D1's public documentation, and on what is
listed here where that shows nothing. With the real files, the comparison takes an hour:

1. Get the OpenAPI files from Thales: `D1-Public-IN-v2-Card`, `D1-Public-IN-v1-3DSecure`, `D1-Public-OUT-v1-Consumer`,
   `D1-Public-OUT-v1-3DSecure`, `D1-Public-OUT-v1-Auth2`, `D1-Public-IN-v1-Auth2`, and `D1-Public-IN-v2-Consumer` if
   consumers are registered.
2. Run `d1-gateway d1 check FILE` on each. It needs no settings and sends nothing; YAML needs the extra `openapi`
   (`d1-gateway[openapi]`). It prints each difference below its call, and ends with 0 if nothing differs, with 1 if
   something does, with 2 if the file cannot be compared. What a file does not hold is "not in this file". A note
   needs no correction by itself: a property that is never sent, codes that D1 decides on, statuses that are accepted
   anyway.
3. Correct the name in the column "To correct", the same in the simulator (`sandbox/d1`), and what is known of D1 in
   `tests/unit/d1/d1-openapi.yaml`, to which `tests/unit/d1/test_d1_openapi.py` holds both. Then `make generate` and
   `make test`: some tests spell the former path or name out, and fail until they have the new one.
4. Ask Thales about the chapters Behaviour and Settings: no file says what D1 does, or how long it waits.

The command compares paths, methods, parameters, headers, bodies, statuses and values, both ways. It cannot see what is
inside encrypted card data or an assertion, nor the times.
"""
_V2 = "/banking/v2/"


def render() -> str:
    """Return the page as Markdown."""
    declared = names()
    in_schema = [each for each in declared if each.module == schema.__name__]
    others = [each for each in declared if each.module != schema.__name__]
    chapters = (_calls(), _properties(), _callbacks(in_schema), _values(others), _behaviour(), _settings(), _contract())
    return _INTRODUCTION + "".join(f"{line}\n" for chapter in chapters for line in chapter)


def _calls() -> Iterator[str]:
    yield "\n## Calls of the gateway\n"
    yield from _table(
        ["Call", "Assumed", "To correct", "Used in"],
        (
            [
                f"`{each.method} {each.template}`",
                ", ".join(f"{part} {each.success_status}" if part == "status" else part for part in each.assumed),
                f"`{name}` in {file_of(endpoints.__name__)}",
                ", ".join(uses(f"{endpoints.__name__}.{name}")),
            ]
            for name, each in vars(endpoints).items()
            if isinstance(each, endpoints.Endpoint) and each.assumed
        ),
    )
    yield ""
    yield from _table(
        ["Assumed", "Meaning", "Inferred from", "If it is wrong"],
        ([part, each.what, each.basis, each.if_wrong] for part, each in endpoints.PARTS.items()),
    )


def _properties() -> Iterator[str]:
    yield "\n## Names in the bodies of these calls\n"
    yield f"To correct: the line of `FIELDS` in {file_of(endpoints.__name__)}."
    calls = [each for each in exchanges() if not each.served and _V2 in each.path]
    for assumption, keys in _grouped(endpoints.ASSUMED_FIELDS):
        yield from _group(assumption)
        yield from _table(
            ["At D1", "Key", "Calls", "Used in"],
            (
                [
                    f"`{endpoints.FIELDS[key]}`",
                    f"`{key}`",
                    ", ".join(each.name for each in calls if _has(each, endpoints.FIELDS[key])),
                    ", ".join(uses(f"property {key}")),
                ]
                for key in keys
            ),
        )


def _has(exchange: Exchange, name: str) -> bool:
    return any(name in each for each in shapes(exchange).values())


def _callbacks(declared: Sequence[Name]) -> Iterator[str]:
    yield "\n## Callbacks of D1\n"
    yield f"To correct: the name in {file_of(schema.__name__)}."
    for assumption, keys in _grouped({each.name: each.assumption for each in declared}):
        yield from _group(assumption)
        found = {each.name: each for each in declared}
        yield from _table(
            ["At D1", "Callback", "Name", "Used in"],
            (
                [
                    _value(found[key].value),
                    ", ".join(_served_with(found[key])),
                    f"`{key}`",
                    ", ".join(uses(f"{schema.__name__}.{key.partition('.')[0]}")),
                ]
                for key in keys
            ),
        )


def _served_with(name: Name) -> Iterator[str]:
    """Yield the calls that a name of the schema is about."""
    owner, _, attribute = name.name.rpartition(".")
    members = frozenset(_strings(getattr(schema, owner))) if owner else frozenset[str]()
    bases = [each.removesuffix("_PATH") for each in vars(schema) if each.endswith("_PATH")]
    base = max((each for each in bases if attribute.startswith(f"{each}_")), key=len, default="")
    for each in exchanges():
        if (
            (owner and members in shapes(each).values())
            or (base and each.path == getattr(schema, f"{base}_PATH"))
            or (not owner and each.batch == name.value)
        ):
            yield each.name


def _strings(owner: type) -> Iterator[str]:
    yield from (value for key, value in vars(owner).items() if key.isupper() and isinstance(value, str))


def _values(declared: Sequence[Name]) -> Iterator[str]:
    yield "\n## Values\n"
    yield from _table(
        ["Assumed", "Value", "To correct", "Used in", "Inferred from", "If it is wrong"],
        (
            [
                each.assumption.what,
                _value(each.value),
                each.place,
                ", ".join(uses(f"{each.module}.{each.name}")) or file_of(each.module),
                each.assumption.basis,
                each.assumption.if_wrong,
            ]
            for each in declared
        ),
    )


def _behaviour() -> Iterator[str]:
    yield "\n## Behaviour\n"
    yield from _table(
        ["Assumed", "Used in", "Inferred from", "If it is wrong"],
        ([each.what, file, each.basis, each.if_wrong] for file, each in behaviour()),
    )


def _settings() -> Iterator[str]:
    yield "\n## Settings\n"
    yield from _table(
        ["Setting", "Default", "Assumed", "Inferred from", "If it is wrong"],
        (
            [f"`{path}`", f"`{json.dumps(_default(path))}`", f"it {each.what}", each.basis, each.if_wrong]
            for path, each in SETTINGS.items()
        ),
    )


def _default(path: str) -> Any:
    """Return a setting's default.

    Raises:
        KeyError: There is no such setting.
    """
    *tables, name = path.split(".")
    kind: Any = Settings
    for table in tables:
        kind = kind.model_fields[table].annotation
    return kind.model_fields[name].default


def _contract() -> Iterator[str]:
    yield "\n## Limits of the contract\n"
    yield "To correct: the annotation of the field in `proto/issuer`."
    for assumption, fields in _grouped(CONTRACT):
        yield from _group(assumption)
        yield from _table(["Field", "Assumed"], ([f"`{field}`", f"it {assumption.what}"] for field in fields))


def _grouped(declared: Mapping[str, Assumption]) -> Iterator[tuple[Assumption, Sequence[str]]]:
    for assumption in dict.fromkeys(declared.values()):
        yield assumption, [name for name, each in declared.items() if each == assumption]


def _group(assumption: Assumption) -> Iterator[str]:
    yield ""
    for text in (f"- Inferred from: {assumption.basis}.", f"- If it is wrong: {assumption.if_wrong}"):
        yield textwrap.fill(text, 120, subsequent_indent="  ")
    yield ""


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f"`{value}`"
    return ", ".join(str(int(each)) for each in sorted(value)) if isinstance(value, frozenset) else str(int(value))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def write() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def check() -> None:
    """Fail if ``write`` would change the page."""
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != render():
        sys.exit(f"{PAGE.relative_to(ROOT)} is not what `make generate` writes")


if __name__ == "__main__":
    commands: dict[str, Callable[[], None]] = {"write": write, "check": check}
    command = commands.get(" ".join(sys.argv[1:]))
    if command is None:
        sys.exit(__doc__)
    command()
