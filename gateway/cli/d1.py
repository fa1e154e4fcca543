"""``d1-gateway d1``: compares the gateway with D1's own specification."""

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.output import FAILED, UNUSABLE, failed, say

if TYPE_CHECKING:
    from adapters.d1.openapi import Compared, Comparison, Document

__all__ = ["app"]

app = typer.Typer(help="Compare the gateway with D1's specification.", no_args_is_help=True)

_WIDTH: Final = 80
_BREAK: Final = "\v"
"""Where a path may continue on the next line."""


@app.callback()
def group() -> None:
    """Keep `check` a command of its own while there is no other."""


@app.command()
def check(file: Annotated[Path, typer.Argument(help="OpenAPI 3 file of D1: YAML or JSON.", dir_okay=False)]) -> None:
    """Print where a file of D1's specification differs from what the gateway does.

    It compares the calls that the gateway makes and the callbacks that it
    serves. Nothing is sent, and no settings are needed. A note takes no
    correction by itself. docs/d1-assumptions.md says what to correct, and where.

    Exit status:

    - 0: nothing differs

    - 1: something differs

    - 2: the file cannot be compared
    """
    from adapters.d1.openapi import UnusableFileError, compare, read  # noqa: PLC0415 (see gateway.cli.app)

    try:
        document = read(file)
        comparison = compare(document)
    except UnusableFileError as error:
        raise failed(UNUSABLE, f"{file}: {error}") from error
    if not comparison.compared:
        raise failed(UNUSABLE, f"{file}: it has none of the gateway's calls, so nothing was compared")
    for line in _report(document, comparison):
        say(line)
    if comparison.difference_count:
        raise typer.Exit(FAILED)


def _report(document: "Document", comparison: "Comparison") -> Iterator[str]:
    yield from _wrapped(f"{document.title} {document.version} (OpenAPI {document.openapi})")
    for each in comparison.compared:
        if each.findings:
            yield ""
            yield from _call(each)
    same = [each.exchange.name for each in comparison.compared if not each.findings]
    unused = (f"{operation.method} {operation.full_paths[0]}" for operation in comparison.unused)
    yield from _list("As the gateway does it", [", ".join(same)] if same else [])
    yield from _list("Not in this file", (f"{each.method} {each.path}" for each in comparison.missing))
    yield from _list("In this file, and not used", unused)
    yield ""
    yield _summary(comparison)


def _call(compared: "Compared") -> Iterator[str]:
    exchange = compared.exchange
    yield from _wrapped(f"{exchange.method} {exchange.path}")
    yield f"  {exchange.name}, {'which D1 calls' if exchange.served else 'which the gateway calls'}"
    for finding in sorted(compared.findings, key=lambda each: not each.is_difference):
        yield from _wrapped(finding.text, "  differs  " if finding.is_difference else "  note     ")


def _list(heading: str, items: Iterable[str]) -> Iterator[str]:
    listed = list(items)
    if listed:
        yield ""
        yield f"{heading}:"
        for item in listed:
            yield from _wrapped(item, "  ")


def _summary(comparison: "Comparison") -> str:
    count, calls = comparison.difference_count, len(comparison.compared)
    notes = sum(len(each.findings) for each in comparison.compared) - count
    differing = sum(any(finding.is_difference for finding in each.findings) for each in comparison.compared)
    found = (
        f"{count} difference{'' if count == 1 else 's'} in {differing} of {calls} calls"
        if count
        else (f"no difference in {calls} call{'' if calls == 1 else 's'}")
    )
    return f"{found}, {notes} note{'' if notes == 1 else 's'}, {len(comparison.missing)} not in this file"


def _wrapped(text: str, indent: str = "") -> list[str]:
    words = " ".join(text.split()).replace("/", f"/{_BREAK}")
    lines = textwrap.wrap(
        words,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent) if indent.strip() else f"{indent}  ",
        replace_whitespace=False,
        expand_tabs=False,
        break_on_hyphens=False,
    )
    return [line.replace(_BREAK, "") for line in lines]
