"""The conditions of the rule tables, such as ``messageCategory == "02" and threeRIInd in [01, 02]``.

Grammar: ``or`` of ``and`` of tests or parentheses. A test is a field's EMV name (``recurringInd.amountInd`` for a field
of an object) with ``== "x"``, ``!= "x"``, ``in [x, y]``, ``is true``, ``is empty`` or ``is not empty``.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

__all__ = [
    "All",
    "AnyOf",
    "Condition",
    "ConditionError",
    "Getter",
    "Predicate",
    "Test",
    "bind",
    "may_hold",
    "names_in",
    "parse",
]

Getter: TypeAlias = Callable[[Any], "str | bool | None"]
"""Returns a field of a message: a code or text, a boolean, or None if it is absent."""

Predicate: TypeAlias = Callable[[Any], bool]
"""Returns whether a condition holds for a message."""


class ConditionError(ValueError):
    """A condition that does not follow the grammar."""


@dataclass(frozen=True, slots=True)
class Test:
    """A test of one field."""

    __test__ = False  # or pytest would collect it

    name: str
    """The field's EMV name."""
    values: frozenset[str | bool | None]
    """The values to compare with; None stands for an absent field."""
    negated: bool = False
    """Whether the field must have none of these values."""

    def holds(self, value: str | bool | None) -> bool:  # noqa: FBT001 - a field's value, not a switch
        """Return whether a value passes."""
        return (value in self.values) is not self.negated


@dataclass(frozen=True, slots=True)
class All:
    """Holds if every part does."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds if at least one part does."""

    parts: tuple["Condition", ...]


Condition: TypeAlias = Test | All | AnyOf


def parse(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ConditionError: The text does not follow the grammar.
    """
    parser = _Parser(text)
    condition = parser.disjunction()
    parser.expect("")
    return condition


def bind(condition: Condition, getter: Callable[[str], Getter], known: Mapping[str, str]) -> Predicate | bool:
    """Compile a condition.

    Args:
        condition: The condition.
        getter: Returns the getter of a field by its EMV name.
        known: Fields with a known value; parts that depend only on these are decided now.

    Returns:
        The predicate, or its result if that is the same for every message.
    """
    if isinstance(condition, Test):
        if condition.name in known:
            return condition.holds(known[condition.name])
        return _test(condition, getter(condition.name))
    # The first part that fails decides an `and`, the first that holds an `or`.
    deciding = isinstance(condition, AnyOf)
    open_parts: list[Predicate] = []
    for part in condition.parts:
        bound = bind(part, getter, known)
        if bound is deciding:
            return deciding
        if not isinstance(bound, bool):
            open_parts.append(bound)
    if not open_parts:
        return not deciding
    return reduce(_either if deciding else _both, open_parts)


def names_in(condition: Condition) -> Iterator[str]:
    """Name every field that a condition tests."""
    if isinstance(condition, Test):
        yield condition.name
    else:
        for part in condition.parts:
            yield from names_in(part)


def may_hold(condition: Condition, values: Mapping[str, str | bool | None], unknown: Collection[str]) -> bool:
    """Return whether a condition holds, or would once some fields have the values that they should have.

    Args:
        condition: The condition.
        values: The value of every other field that the condition tests.
        unknown: The fields that are to change, because they are missing or have a wrong value.
    """
    if isinstance(condition, Test):
        if condition.name not in unknown:
            return condition.holds(values[condition.name])
        return condition.negated or None not in condition.values
    parts = (may_hold(part, values, unknown) for part in condition.parts)
    return all(parts) if isinstance(condition, All) else any(parts)


def _test(test: Test, get: Getter) -> Predicate:
    values = test.values
    if test.negated:
        return lambda message: get(message) not in values
    return lambda message: get(message) in values


def _both(first: Predicate, second: Predicate) -> Predicate:
    return lambda message: first(message) and second(message)


def _either(first: Predicate, second: Predicate) -> Predicate:
    return lambda message: first(message) or second(message)


_TOKEN = re.compile(r'\s*([()\[\],]|==|!=|"[^"]*"|[A-Za-z0-9.]+|$)')
_NAME = re.compile(r"[A-Za-z0-9.]+")


class _Parser:
    """Recursive descent over the tokens of one condition. The empty token is the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._token = ""
        self._advance()

    def _advance(self) -> str:
        token = self._token
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            raise ConditionError(f"unreadable at {self._position} in: {self._text}")
        self._position = match.end()
        self._token = match[1]
        return token

    def expect(self, token: str) -> None:
        if self._token != token:
            raise ConditionError(f"{token or 'the end'} expected before {self._position} in: {self._text}")
        self._advance()

    def _accept(self, token: str) -> bool:
        if self._token == token:
            self._advance()
            return True
        return False

    def disjunction(self) -> Condition:
        parts = [self._conjunction()]
        while self._accept("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _conjunction(self) -> Condition:
        parts = [self._unit()]
        while self._accept("and"):
            parts.append(self._unit())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _unit(self) -> Condition:
        if self._accept("("):
            inner = self.disjunction()
            self.expect(")")
            return inner
        name = self._word()
        operator = self._advance()
        if operator in {"==", "!="}:
            return Test(name, frozenset({self._quoted()}), negated=operator == "!=")
        if operator == "in":
            return Test(name, frozenset(self._list()))
        if operator == "is":
            return self._state(name)
        raise ConditionError(f"no such operator: {operator!r} in: {self._text}")

    def _state(self, name: str) -> Test:
        if self._accept("true"):
            return Test(name, frozenset({True}))
        negated = self._accept("not")
        self.expect("empty")
        return Test(name, frozenset({None}), negated=negated)

    def _list(self) -> Iterator[str]:
        self.expect("[")
        yield self._word()
        while self._accept(","):
            yield self._word()
        self.expect("]")

    def _quoted(self) -> str:
        token = self._advance()
        if not token.startswith('"'):
            raise ConditionError(f"a quoted value expected in: {self._text}")
        return token.strip('"')

    def _word(self) -> str:
        token = self._advance()
        if not _NAME.fullmatch(token):
            raise ConditionError(f"a name expected, not {token!r}, in: {self._text}")
        return token
