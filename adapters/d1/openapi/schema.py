"""Schemas of an OpenAPI 3 file, with their references followed and their parts joined."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

__all__ = ["Schema", "UnusableFileError", "follow", "sample"]

_MAX_REFERENCES: Final = 32
_MAX_LEVELS: Final = 16
_MAX_SAMPLE_LEVELS: Final = 6
_MAX_TEXT: Final = 10_000
_NO_WORDS: Final[Mapping[str, str]] = MappingProxyType({})
_TEXTS: Final = ("1", "a", "1234", "en-US", "2030-01-01", "2030-01-01T00:00:00Z", "+962", "a@b.example")


class UnusableFileError(Exception):
    """Why a file cannot be compared."""


def follow(root: Mapping[str, Any], node: Any) -> Any:
    """Return what a node refers to, or the node itself. Properties beside a reference take precedence.

    Raises:
        UnusableFileError: The reference leads nowhere, out of the file, or in a circle.
    """
    beside: dict[str, Any] = {}
    for _ in range(_MAX_REFERENCES):
        if not isinstance(node, dict) or not isinstance(reference := node.get("$ref"), str):
            return {**node, **beside} if beside and isinstance(node, dict) else node
        beside = {**{name: value for name, value in node.items() if name != "$ref"}, **beside}
        node = _target(root, reference)
    raise UnusableFileError(f"not usable: $ref {reference} leads in a circle")


def _target(root: Mapping[str, Any], reference: str) -> Any:
    if not reference.startswith("#/"):
        raise UnusableFileError(f"not usable: $ref {reference} leads out of the file; bundle the files into one")
    node: Any = root
    for token in reference.removeprefix("#/").split("/"):
        name = unquote(token).replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        else:
            raise UnusableFileError(f"not usable: $ref {reference} leads nowhere")
    return node


class Schema:
    """A schema. What it says in several places, with `allOf`, holds together; one of `oneOf` or `anyOf` suffices."""

    def __init__(self, root: Mapping[str, Any], node: Any, level: int = 0) -> None:
        if level > _MAX_LEVELS:
            raise UnusableFileError("not usable: a schema is part of itself")
        self._root = root
        self._level = level
        self._parts = list(self._joined(node, level))

    def _joined(self, node: Any, level: int) -> Iterator[Mapping[str, Any]]:
        if level > _MAX_LEVELS:
            raise UnusableFileError("not usable: a schema is part of itself")
        part = follow(self._root, node)
        if not isinstance(part, dict):
            return
        yield part
        joined = part.get("allOf")
        for each in joined if isinstance(joined, list) else ():
            yield from self._joined(each, level + 1)

    def _all(self, name: str, kind: type | tuple[type, ...]) -> list[Any]:
        return [part[name] for part in self._parts if isinstance(part.get(name), kind)]

    @cached_property
    def _choices(self) -> Sequence[Sequence["Schema"]]:
        return [
            [Schema(self._root, each, self._level + 1) for each in choice]
            for name in ("oneOf", "anyOf")
            for choice in self._all(name, list)
        ]

    @cached_property
    def properties(self) -> Mapping[str, "Schema"]:
        """Every property that there may be."""
        found: dict[str, Schema] = {}
        for nodes in self._all("properties", dict):
            for name, node in nodes.items():
                # A property may hold its own schema again: each is read when it is asked for.
                found.setdefault(str(name), Schema(self._root, node))
        for choice in self._choices:
            for each in choice:
                found = {**each.properties, **found}
        return found

    @cached_property
    def required(self) -> frozenset[str]:
        """The properties that there must be."""
        own = {str(name) for names in self._all("required", list) for name in names}
        chosen = [frozenset.intersection(*(each.required for each in choice)) for choice in self._choices if choice]
        return frozenset(own).union(*chosen)

    @cached_property
    def is_closed(self) -> bool:
        """Whether other properties are refused."""
        own = any(part.get("additionalProperties") is False for part in self._parts)
        return own or any(choice and all(each.is_closed for each in choice) for choice in self._choices)

    @cached_property
    def types(self) -> frozenset[str]:
        """The JSON types that it may have; none if the file does not say."""
        named = [{each} if isinstance(each, str) else set(map(str, each)) for each in self._all("type", (str, list))]
        found = set.intersection(*named) if named else set[str]()
        if not found:
            found = {each for choice in self._choices for schema in choice for each in schema.types}
        if not found and self.properties:
            found = {"object"}
        return frozenset(found - {"null"})

    @cached_property
    def values(self) -> Sequence[str] | None:
        """Every value, as text; None if they are not listed."""
        listed = [[str(value) for value in values if value is not None] for values in self._all("enum", list)]
        listed += [[str(part["const"])] for part in self._parts if "const" in part]
        for choice in self._choices:
            of_each = [each.values for each in choice if "null" not in each.types]
            if of_each and all(values is not None for values in of_each):
                listed.append([value for values in of_each for value in values or ()])
        if not listed:
            return None
        first, *others = listed
        return [value for value in first if all(value in other for other in others)]

    @property
    def patterns(self) -> Sequence[str]:
        """The patterns that a text must match."""
        return self._all("pattern", str)

    @property
    def format(self) -> str:
        """The format of a text; empty if the file names none."""
        return next(iter(self._all("format", str)), "")

    @property
    def is_read_only(self) -> bool:
        """Whether it is in responses only."""
        return True in self._all("readOnly", bool)

    def least(self, name: str) -> float | None:
        """Return the strictest lower bound, such as ``minLength``; None if there is none."""
        return max(self._numbers(name), default=None)

    def most(self, name: str) -> float | None:
        """Return the strictest upper bound, such as ``maxLength``; None if there is none."""
        return min(self._numbers(name), default=None)

    def _numbers(self, name: str) -> list[float]:
        return [each for each in self._all(name, (int, float)) if not isinstance(each, bool)]

    @cached_property
    def items(self) -> "Schema":
        """The schema of a list's items."""
        return Schema(self._root, next(iter(self._all("items", dict)), None))

    @property
    def example(self) -> str:
        """A text that the file gives as an example; empty if there is none."""
        examples = [*self._all("example", str), *(each for listed in self._all("examples", list) for each in listed)]
        return next((each for each in examples if isinstance(each, str)), "")


def sample(schema: Schema, *, whole: bool = True, words: Mapping[str, str] = _NO_WORDS) -> Any:
    """Return a value that a schema describes.

    Args:
        schema: The schema.
        whole: Whether it has every property; otherwise only those that it must have.
        words: Values to choose, by the path of the property.
    """
    return _sample(schema, whole, words, ())


def _sample(schema: Schema, whole: bool, words: Mapping[str, str], path: tuple[str, ...]) -> Any:  # noqa: FBT001
    if schema.values:
        return words.get(".".join(filter(None, path)), schema.values[0])
    if "object" in schema.types:
        return {
            name: _sample(each, whole, words, (*path, name))
            for name, each in schema.properties.items()
            if (whole or name in schema.required) and len(path) < _MAX_SAMPLE_LEVELS
        }
    if "array" in schema.types:
        # The list's own place in the path only keeps it finite.
        return [_sample(schema.items, whole, words, (*path, ""))] if len(path) < _MAX_SAMPLE_LEVELS else []
    if "string" in schema.types:
        return _text(schema)
    if "boolean" in schema.types:
        return True
    return int(max(1, schema.least("minimum") or 1)) if schema.types & {"integer", "number"} else _text(schema)


def _text(schema: Schema) -> str:
    length = int(min(schema.most("maxLength") or schema.least("minLength") or 0, _MAX_TEXT))
    texts = [*(character * length for character in "1a" if length), schema.example, *_TEXTS]
    return next((text for text in texts if text and all(_matches(each, text) for each in schema.patterns)), "1")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True
