"""``d1-gateway audit``: checks the audit trail."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.output import FAILED, UNUSABLE, failed, say

if TYPE_CHECKING:
    from gateway.audit import verification

__all__ = ["app"]

app = typer.Typer(help="Check the audit trail.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Check the audit trail."""


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of audit trails, in any order.")],
    *,
    key_file: Annotated[
        list[Path] | None, typer.Option(help="Key that seals the lines (audit.key_file); once for each key in use.")
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(metavar="LOG", help="The gateway's log, whose lines audit_anchor the trail must match."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check that no line of a trail was changed, removed, inserted or reordered, and tell the first that was.

    Without --anchors nothing tells that the end of a trail was cut off.

    Exit status:

    - 0: everything is as it was written

    - 1: something is not

    - 2: a file cannot be read, or a key is missing
    """
    from gateway.audit import verification  # noqa: PLC0415 (see gateway.cli.app)
    from gateway.settings import read_audit_key  # noqa: PLC0415

    try:
        keys = [read_audit_key(each) for each in key_file or ()]
        named = {} if anchors is None else verification.anchors_in(anchors)
        found = verification.verify(files, keys, named)
    except OSError as error:
        raise failed(UNUSABLE, f"{error.filename}: {error.strerror}") from error
    except (ValueError, verification.MissingKeyError) as error:
        raise failed(UNUSABLE, str(error)) from error
    if as_json:
        # orjson refuses the names of files that are not UTF-8.
        typer.echo(json.dumps([asdict(each) for each in found]))
    else:
        for each in found:
            _print(each)
    if any(each.findings for each in found):
        raise typer.Exit(FAILED)


def _print(found: "verification.Verified") -> None:
    for finding in found.findings:
        place = f"{finding.file}, line {finding.line}" if finding.line else finding.file
        say(f"{place}: {finding.what}")
    for note in found.notes:
        say(f"note: {note}")
    if found.trail:
        verdict = f"NOT intact: {len(found.findings)} findings" if found.findings else "intact"
        say(f"trail {found.trail}: {found.lines} lines to number {found.end.sequence}, {verdict}")
