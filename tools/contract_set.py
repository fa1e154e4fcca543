"""Writes the contracts without their validation rules: ``python tools/contract_set.py IMAGE FOLDER``.

The rules are the gateway's, their import is in no package as a file, and without both a contract compiles wherever
protoc does. What is cut is where protoc says that it stands, in the source information of the image, so comments and
layout stay as they are written.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from protovalidate import ViolationPb

_PROTO = Path(__file__).resolve().parent.parent / "proto"
_RULES = ViolationPb.desc().file.proto
"""The descriptor of ``buf/validate/validate.proto``."""
_RULE_NUMBERS = frozenset(extension.number for extension in _RULES.extension)
_IMPORT = FileDescriptorProto.DEPENDENCY_FIELD_NUMBER

Span = tuple[int, int]
"""Where something stands in a file: its first byte, and the one after its last."""


def main(image: Path, folder: Path) -> None:
    """Write every contract of an image of `proto/issuer` into a folder."""
    for file in FileDescriptorSet.FromString(image.read_bytes()).file:
        source = _PROTO / file.name
        if source.is_file():
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(without_rules(file, source.read_bytes()))


def without_rules(file: FileDescriptorProto, source: bytes) -> bytes:
    """Cut the validation rules, and their import, out of a contract.

    Args:
        file: The contract's descriptor, with source information.
        source: The text that it was made from.
    """
    spans = {span: _is_rule(file, path) for path, span in _locations(file, source)}
    rules = [span for span, is_rule in spans.items() if is_rule]
    lists = [span for span in spans if source.startswith(b"[", span[0]) and any(_within(rule, span) for rule in rules)]
    replaced = {span: _option_list(source, span, spans) for span in lists}
    for rule in rules:
        if not any(_within(rule, options) for options in lists):
            replaced[_line(source, rule)] = b""
    return b"".join(_pieces(source, replaced))


def _locations(file: FileDescriptorProto, source: bytes) -> Iterator[tuple[tuple[int, ...], Span]]:
    lines = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
    for location in file.source_code_info.location:
        first, column, *last, end = location.span
        yield tuple(location.path), (lines[first] + column, lines[last[0] if last else first] + end)


def _is_rule(file: FileDescriptorProto, path: tuple[int, ...]) -> bool:
    if path[:1] == (_IMPORT,):
        return file.dependency[path[1]] == _RULES.name
    return not _RULE_NUMBERS.isdisjoint(path)


def _within(inner: Span, outer: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1] and inner != outer


def _option_list(source: bytes, options: Span, spans: dict[Span, bool]) -> bytes:
    """Return the list of options of a field or value without rules; nothing if there is no other option."""
    kept = sorted(span for span, is_rule in spans.items() if _within(span, options) and not is_rule)
    return b"[" + b", ".join(source[start:end] for start, end in kept) + b"]" if kept else b""


def _line(source: bytes, statement: Span) -> Span:
    start, end = statement
    return source.rindex(b"\n", 0, start) + 1, source.index(b"\n", end) + 1


def _pieces(source: bytes, replaced: dict[Span, bytes]) -> Iterable[bytes]:
    position = 0
    for (start, end), text in sorted(replaced.items()):
        yield source[position:start]
        yield text
        position = end
    yield source[position:]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
