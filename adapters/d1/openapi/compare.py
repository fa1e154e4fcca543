"""Compares the gateway's exchanges with D1 to the operations of an OpenAPI file."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Final

from adapters.d1.openapi.bodies import Finding, difference, note, reads, sends, value
from adapters.d1.openapi.calls import calls, error_properties
from adapters.d1.openapi.document import Document, Operation, json_schema
from adapters.d1.openapi.exchanges import Exchange, Property
from adapters.d1.openapi.served import served

__all__ = ["Compared", "Comparison", "compare", "exchanges"]

_OF_HTTP: Final = frozenset({"authorization", "content-type", "accept"})
_JSON: Final = "application/json"
_LEAST_SEGMENTS: Final = 3
"""Of a path that may lack its beginning."""
_SAME_WORD: Final = 0.75
"""How alike two words are that may be one (`difflib.SequenceMatcher.ratio`)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A call that the file holds."""

    exchange: Exchange
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found."""

    compared: Sequence[Compared]
    missing: Sequence[Exchange]
    """Calls that the file does not hold."""
    unused: Sequence[Operation]
    """Operations of the file that the gateway neither calls nor serves."""

    @property
    def difference_count(self) -> int:
        """The number of differences."""
        return sum(finding.is_difference for each in self.compared for finding in each.findings)


@cache
def exchanges() -> Sequence[Exchange]:
    """Return every call between the gateway and D1."""
    return [*calls(), *served()]


def compare(document: Document) -> Comparison:
    """Compare every call that a file holds."""
    ours = exchanges()
    found = {id(each): operation for each in ours if (operation := _same(each, document.operations)) is not None}
    taken = {id(operation) for operation in found.values()}
    for each in ours:
        free = [operation for operation in document.operations if id(operation) not in taken]
        if id(each) not in found and (near := _nearest(each, free)) is not None:
            found[id(each)] = near
            taken.add(id(near))
    return Comparison(
        compared=[Compared(each, list(_findings(each, found[id(each)]))) for each in ours if id(each) in found],
        missing=[each for each in ours if id(each) not in found],
        unused=[operation for operation in document.operations if id(operation) not in taken],
    )


def _bare(path: str) -> str:
    return re.sub(r"\{[^{}]*\}", "{}", path)


def _same(exchange: Exchange, operations: Sequence[Operation]) -> Operation | None:
    path = _bare(exchange.path)
    for operation in operations:
        if operation.method == exchange.method and path in map(_bare, operation.full_paths):
            return operation
    return None


def _nearest(exchange: Exchange, operations: Sequence[Operation]) -> Operation | None:
    """Find the operation that means this call: of another method, or of a path that is spelled otherwise."""
    ours = _bare(exchange.path)
    for is_near in (_is_spelled_otherwise, _is_without_base, _has_other_word):
        for operation in operations:
            if operation.method == exchange.method and any(is_near(ours, path) for path in _bare_paths(operation)):
                return operation
    other_methods = [each for each in operations if ours in _bare_paths(each)]
    return other_methods[0] if len(other_methods) == 1 else None


def _bare_paths(operation: Operation) -> Sequence[str]:
    return [_bare(path) for path in operation.full_paths]


def _is_spelled_otherwise(ours: str, theirs: str) -> bool:
    return re.sub(r"[:/_-]", "", ours).lower() == re.sub(r"[:/_-]", "", theirs).lower()


def _is_without_base(ours: str, theirs: str) -> bool:
    return theirs.count("/") >= _LEAST_SEGMENTS and ours.endswith(theirs)


def _has_other_word(ours: str, theirs: str) -> bool:
    ours_split, theirs_split = re.split("[:/]", ours), re.split("[:/]", theirs)
    if len(ours_split) != len(theirs_split):
        return False
    others = [pair for pair in zip(ours_split, theirs_split, strict=True) if pair[0] != pair[1]]
    return len(others) == 1 and SequenceMatcher(None, *others[0]).ratio() >= _SAME_WORD


def _findings(exchange: Exchange, operation: Operation) -> Iterator[Finding]:
    if exchange.method != operation.method:
        yield difference(f"method: the file has {operation.method}")
    if _bare(exchange.path) not in _bare_paths(operation):
        yield difference(f"path: the file has {operation.full_paths[0]}")
    if operation.deprecated:
        yield note("deprecated")
    if exchange.served:
        yield from _served(exchange, operation)
    else:
        yield from _called(exchange, operation)


def _called(exchange: Exchange, operation: Operation) -> Iterator[Finding]:
    yield from _parameters(exchange.query, operation, "query")
    yield from _parameters(exchange.headers, operation, "header")
    yield from _request(exchange, operation)
    successes = [status for status in operation.responses if status.startswith("2")]
    if not successes and "DEFAULT" not in operation.responses:
        yield difference("status: the file has no success")
    if successes and {f"{exchange.status:d}", "2XX"}.isdisjoint(successes):
        yield note(f"status: {exchange.status:d} expected, the file has {', '.join(successes)}; any 2xx is taken")
    for status in successes:
        yield from _response(exchange, operation, status)
    yield from _errors(operation)


def _parameters(properties: Sequence[Property], operation: Operation, place: str) -> Iterator[Finding]:
    theirs = {_key(each.name, place): each for each in operation.parameters if each.place == place}
    ours = {_key(each.name, place): each for each in properties}
    for key, sent in ours.items():
        if key in theirs:
            yield from value(sent, theirs[key].schema, f"{place} {sent.name}")
            if theirs[key].required and not sent.always:
                yield difference(f"{place} {sent.name}: required, and may be left out")
        elif place == "query":
            yield difference(f"query {sent.name}: not in the file")
        else:
            yield note(f"header {sent.name}: not in the file")
    further = {key: each for key, each in theirs.items() if key not in ours and key not in _OF_HTTP}
    for each in further.values():
        if each.required:
            yield difference(f"{place} {each.name}: required, and never sent")
        else:
            yield note(f"{place} {each.name}: never sent")


def _key(name: str, place: str) -> str:
    return name.lower() if place == "header" else name


def _request(exchange: Exchange, operation: Operation) -> Iterator[Finding]:
    if not exchange.sends:
        return
    if operation.requests is None:
        yield difference("request: the file has no body")
        return
    schema = json_schema(operation.requests)
    if exchange.media_type != _JSON:
        schema = operation.requests.get(exchange.media_type)
    if schema is None:
        yield difference(f"request: sent as {exchange.media_type}, the file has {', '.join(operation.requests)}")
        return
    yield from sends(exchange.sends, schema, "request ")


def _response(exchange: Exchange, operation: Operation, status: str) -> Iterator[Finding]:
    content = operation.responses[status]
    schema = json_schema(content)
    if schema is not None:
        yield from reads(exchange, schema, f"{status} ")
    elif content:
        yield difference(f"{status}: a body of {', '.join(content)}, the gateway takes JSON")
    elif exchange.needs_body:
        yield difference(f"{status}: no body, the gateway needs one")


def _errors(operation: Operation) -> Iterator[Finding]:
    """Compare the bodies of errors. Any status is understood: an unknown 4xx as 400, an unknown 5xx as 500."""
    for status in operation.responses:
        schema = operation.json_response(status)
        if status[:1] in "45" and schema is not None and schema.properties:
            read = error_properties()
            if read.isdisjoint(schema.properties):
                yield difference(f"{status}: none of {', '.join(sorted(read))} in the error")


def _served(exchange: Exchange, operation: Operation) -> Iterator[Finding]:
    theirs = {each.name: each for each in operation.parameters if each.place == "query"}
    ours = {each.name for each in exchange.query}
    for name in sorted(ours - set(theirs)):
        yield difference(f"query {name}: read, and not in the file")
    for name in sorted(set(theirs) - ours):
        yield note(f"query {name}: not read")
    schema = json_schema(operation.requests or {})
    if schema is not None:
        yield from reads(exchange, schema, "request ")
    elif exchange.reads:
        yield difference("request: the file has no JSON body")
    yield from _answer(exchange, operation, f"{exchange.status:d}")
    errors = sorted(f"{each:d}" for each in exchange.errors)
    further = [each for each in errors if not {each, f"{each[0]}XX", "DEFAULT"} & set(operation.responses)]
    if further:
        yield note(f"status: may be answered, and is not in the file: {', '.join(further)}")


def _answer(exchange: Exchange, operation: Operation, status: str) -> Iterator[Finding]:
    listed = next((each for each in (status, f"{status[0]}XX", "DEFAULT") if each in operation.responses), None)
    if listed is None:
        successes = [each for each in operation.responses if each.startswith("2")] or ["no success"]
        yield difference(f"status: answered with {status}, the file has {', '.join(successes)}")
        listed = successes[0]
    schema = operation.json_response(listed)
    if schema is not None:
        yield from sends(exchange.sends, schema, f"{status} ")
    elif exchange.sends:
        yield difference(f"{status}: answered with a body, the file has none")
