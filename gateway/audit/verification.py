"""Checks the files of trails: that nothing in them was changed, removed, inserted or reordered."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from errno import ESPIPE
from itertools import groupby
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final

import orjson

from gateway.audit.folder import Beginning, read_beginning
from gateway.audit.seal import MAX_LINE_BYTES, ORIGIN, Link, Seal, read_line
from gateway.audit.trail import MAX_TORN_BYTES

__all__ = ["Finding", "MissingKeyError", "Verified", "anchors_in", "verify"]

Anchors = Mapping[str, Mapping[int, str]]
"""By trail and number of a line, the hash that the gateway's log named for it."""

_NO_HASH: Final = ""


class MissingKeyError(Exception):
    """Lines are sealed with a key that was not given."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where."""

    file: str
    line: int
    """The line in the file, from 1; 0 for the file as a whole."""
    what: str


@dataclass(slots=True)
class Verified:
    """What was found in a trail, or in files that belong to none."""

    trail: str
    lines: int = 0
    end: Link = ORIGIN
    """The last line that was checked."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong, the first one first."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing, and not wrong."""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    beginning: Beginning


def anchors_in(log: Path) -> dict[str, dict[int, str]]:
    """Return the anchors in a gateway's log; other lines are skipped.

    Of two that contradict each other nothing is left that a line could match: somebody cut a trail off, and a gateway
    continued it.

    Raises:
        OSError: It cannot be read.
    """
    found: dict[str, dict[int, str]] = {}
    with log.open("rb") as lines:
        for text in lines:
            if b'"audit_anchor"' not in text:
                continue
            with suppress(ValueError, KeyError, TypeError):
                line = orjson.loads(text)
                if line["event"] == "audit_anchor":
                    named, sequence = found.setdefault(line["trail"], {}), int(line["sequence"])
                    named[sequence] = line["hash"] if named.get(sequence, line["hash"]) == line["hash"] else _NO_HASH
    return found


def verify(paths: Sequence[Path], keys: Iterable[bytes], anchors: Anchors) -> list[Verified]:
    """Check files, in the order that they say they have.

    Args:
        paths: The files.
        keys: The keys that may have sealed them. If there are any, a file without a seal is not as it was.
        anchors: What the gateway's log said about their lines.

    Returns:
        One entry for each trail, and first one without a name for files that belong to none.

    Raises:
        OSError: A file cannot be read.
        MissingKeyError: A file needs a key that is not there.
    """
    seals = {seal.key_id: seal for seal in (Seal(None), *map(Seal, keys))}
    strangers, files = Verified(""), list[_File]()
    for path in paths:
        if not S_ISREG(path.stat().st_mode):
            raise OSError(ESPIPE, "it is read twice, so it must be a file, and cannot be a pipe", str(path))
        with path.open("rb") as opened:
            beginning = read_beginning(opened.readline(MAX_LINE_BYTES))
        if beginning is None:
            strangers.findings.append(
                Finding(str(path), 1, "it is not the first line of an audit file, or was changed")
            )
        elif beginning.key_id not in seals:
            raise MissingKeyError(f"{path} is sealed with the key {beginning.key_id}, which was not given")
        else:
            files.append(_File(path, beginning))
    files.sort(key=lambda file: (file.beginning.trail, file.beginning.file))
    found = [strangers] if strangers.findings else []
    for trail, of in groupby(files, lambda file: file.beginning.trail):
        found.append(_verify_trail(trail, [*of], seals, anchors.get(trail, {})))
    return found


def _verify_trail(
    trail: str, files: Sequence[_File], seals: Mapping[str, Seal], anchors: Mapping[int, str]
) -> Verified:
    found = Verified(trail)
    first = files[0].beginning
    if first.line.previous_hash != ORIGIN.hash:
        found.notes.append(f"{files[0].path} is not the first file of its trail: what was before is not checked")
    before: _File | None = None
    checked = Link(first.line.link.sequence - 1, first.line.previous_hash)
    # A file without a next one may end in a line that is being written.
    for file, after in zip(files, [*files[1:], None], strict=True):
        if before is not None and file.beginning.file != before.beginning.file + 1:
            found.findings.append(Finding(str(file.path), 0, _gap(before.beginning.file, file.beginning.file)))
            checked = Link(file.beginning.line.link.sequence - 1, file.beginning.line.previous_hash)
        if len(seals) > 1 and not file.beginning.key_id:
            found.findings.append(Finding(str(file.path), 1, "no key seals it: anybody can have written it"))
        _note_beginning(found, file)
        checked = _verify_file(found, file, after, seals[file.beginning.key_id], checked, anchors)
        before = file
    found.end = checked
    if later := [number for number in anchors if number > checked.sequence]:
        what = (
            f"it ends at line {checked.sequence} of its trail, but the log names line {max(later)}: lines are missing"
        )
        found.findings.append(Finding(str(files[-1].path), 0, what))
    return found


def _gap(before: int, number: int) -> str:
    if before == number:
        return f"there is another file {number} of this trail"
    return f"it is file {number} of its trail, and the one before it here is file {before}: files are missing"


def _note_beginning(found: Verified, file: _File) -> None:
    facts = file.beginning.facts
    if facts["torn_bytes"]:
        found.notes.append(f"before {file.path} a write was interrupted: {facts['torn_bytes']} bytes are set aside")
    if facts["torn_bytes"] > MAX_TORN_BYTES:
        found.findings.append(
            Finding(str(file.path), 1, "more was set aside before it than an interrupted write leaves")
        )
    if facts["lost"]:
        found.notes.append(f"before {file.path} {facts['lost']} lines were lost")
    if facts["reason"] == "moved":
        found.notes.append(f"before {file.path} a file was moved or removed while the gateway wrote to it")
    if facts["reason"] == "altered":
        found.findings.append(
            Finding(str(file.path), 1, "the file before it was altered while the gateway wrote to it")
        )


def _verify_file(
    found: Verified,
    file: _File,
    after: _File | None,
    seal: Seal,
    checked: Link,
    anchors: Mapping[int, str],
) -> Link:
    """Check a file's lines. Returns the link to the last one, or to where the next file continues if one is wrong."""
    is_linked = after is not None and after.beginning.file == file.beginning.file + 1
    facts: Mapping[str, Any] = after.beginning.facts if after is not None and is_linked else {}
    is_last_closed = False
    size = 0
    for number, text in enumerate(_lines(file.path, facts.get("previous_bytes")), start=1):
        line = read_line(text)
        if line is None and not is_linked and not text.endswith(b"\n"):
            found.notes.append(
                f"{file.path} ends in {len(text)} bytes of an unfinished line: it is being written, or tore"
            )
            break
        what = ""
        if line is None or not seal.holds(line):
            what = "the line was changed, or is none of a gateway's"
        elif not line.follows(checked):
            what = f"it is line {line.link.sequence} of the trail, and does not follow line {checked.sequence}"
        elif anchors.get(line.link.sequence, line.link.hash) != line.link.hash:
            what = "the log names another hash for it: the trail was written anew"
        if line is None or what:
            found.findings.append(Finding(str(file.path), number, what))
            return _continued(after, checked)
        checked = line.link
        found.lines += 1
        size += len(text)
        is_last_closed = b'"kind":"closed"' in text
    if after is None:
        if not is_last_closed:
            found.notes.append(f"{file.path} was not closed: its gateway runs, or was killed")
    elif is_linked:
        _verify_size(found, file, size, facts)
    return checked


def _continued(after: _File | None, checked: Link) -> Link:
    if after is None:
        return checked
    line = after.beginning.line
    return Link(line.link.sequence - 1, line.previous_hash)


def _verify_size(found: Verified, file: _File, size: int, next_facts: Mapping[str, Any]) -> None:
    expected, torn = next_facts["previous_bytes"], next_facts["torn_bytes"]
    if size != expected or file.path.stat().st_size != expected + torn:
        what = f"it has {file.path.stat().st_size} bytes, not the {expected + torn} that the next file names"
        found.findings.append(Finding(str(file.path), 0, what))


def _lines(path: Path, whole_bytes: int | None) -> Iterator[bytes]:
    """Yield a file's lines, up to where the next file says that they are whole."""
    left = path.stat().st_size if whole_bytes is None else whole_bytes
    with path.open("rb") as file:
        while left > 0 and (line := file.readline(min(left, MAX_LINE_BYTES))):
            left -= len(line)
            yield line
