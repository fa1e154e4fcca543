"""Validates JSON messages by the rule tables, as the 3-D Secure server does."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gateway.threeds.rules.conditions import Getter, Predicate, bind
from gateway.threeds.rules.formats import Requirement, count_requirements, json_requirements, text_requirements
from gateway.threeds.rules.tables import ALWAYS, CATEGORIES, CHANNELS, Row, Table, objects, table
from sandbox.threeds.errors import ErroError

__all__ = ["FORM", "ISO_CODE", "MISSING", "Problem", "Scene", "problems", "scene_of", "validate"]

MISSING, FORM, ISO_CODE = "201", "203", "304"
"""Each ``errorCode`` for an invalid field, most severe first."""

_SCENE = ("messageType", "messageVersion", "deviceChannel", "messageCategory")
_DS_DEFINED = re.compile("[89][0-9]")
"""The channels and categories that a DS may define; the simulated one takes all of them."""
_ISO_RULES = frozenset({"emv.format.countryCode", "emv.format.currency"})


@dataclass(frozen=True, slots=True)
class Scene:
    """What selects the rules: codes of version, channel and category."""

    version: str
    channel: str = "02"
    category: str = "01"

    @property
    def known(self) -> dict[str, str]:
        """The codes under the names that conditions use."""
        return {"messageVersion": self.version, "deviceChannel": self.channel, "messageCategory": self.category}


@dataclass(frozen=True, slots=True)
class Problem:
    """A field that breaks a rule."""

    path: str
    code: str
    """`MISSING`, `FORM` or `ISO_CODE`."""


def scene_of(areq: Mapping[str, Any], versions: Sequence[str]) -> Scene:
    """Return the scene of an AReq.

    Raises:
        ErroError: A code is missing, or the message is not an AReq of these versions.
    """
    missing = [name for name in _SCENE if name not in areq]
    if missing:
        raise ErroError(MISSING, ", ".join(missing))
    message_type, version, channel, category = (areq[name] for name in _SCENE)
    if message_type != "AReq":
        raise ErroError("101", "messageType")
    if version not in versions:
        raise ErroError("102", "messageVersion")
    for name, code, known in (("deviceChannel", channel, CHANNELS), ("messageCategory", category, CATEGORIES)):
        if not isinstance(code, str) or not (code in known or _DS_DEFINED.fullmatch(code)):
            raise ErroError(FORM, name)
    return Scene(version, channel, category)


def validate(message: Mapping[str, Any], name: str, scene: Scene) -> None:
    """Validate a message.

    Args:
        message: The message.
        name: The message's rule table, for example ``AReq``.
        scene: Selects the rules.

    Raises:
        ErroError: The message is invalid; names every field with the most severe error.
    """
    found = problems(message, name, scene)
    for code in (MISSING, FORM, ISO_CODE):
        paths = [problem.path for problem in found if problem.code == code]
        if paths:
            raise ErroError(code, ", ".join(paths))


def problems(message: Mapping[str, Any], name: str, scene: Scene) -> list[Problem]:
    """Return all problems of a message. A field outside its version or channel is one."""
    return list(_checker(name, scene).check(message, ""))


@dataclass(frozen=True, slots=True)
class _Rule:
    row: Row
    needed: Predicate | bool
    tests: tuple[Requirement, ...]
    counts: tuple[Requirement, ...]
    inner: "_Checker | None"

    def check(self, value: Any, path: str) -> Iterator[Problem]:
        if not self.row.array:
            yield from self._check_one(value, path)
        elif not isinstance(value, list) or not value:
            yield Problem(path, FORM)
        else:
            yield from _broken(value, self.counts, path)
            for index, item in enumerate(value):
                yield from self._check_one(item, f"{path}[{index}]")

    def _check_one(self, value: Any, path: str) -> Iterator[Problem]:
        if self.inner is not None:
            if isinstance(value, dict) and value:
                yield from self.inner.check(value, f"{path}.")
            else:
                yield Problem(path, FORM)
        elif not self._has_type(value):
            yield Problem(path, FORM)
        else:
            yield from _broken(value, self.tests, path)

    def _has_type(self, value: Any) -> bool:
        if self.row.type == "bool":
            return isinstance(value, bool) and (not self.row.codes or str(value).lower() in self.row.codes)
        if self.row.type == "json":
            return value is not None
        return isinstance(value, str) and value != ""


class _Checker:
    """The rules of a message or object in one scene."""

    def __init__(self, rules: Table, scene: Scene) -> None:
        rows = [row for row in rules.fields(scene.version).values() if row.used_in(scene.channel, scene.category)]
        self._rules = {row.name: _rule(row, rules, scene) for row in rows}

    def check(self, message: Mapping[str, Any], prefix: str) -> Iterator[Problem]:
        for name, value in message.items():
            rule = self._rules.get(name)
            if rule is None:
                yield Problem(prefix + name, FORM)
            else:
                yield from rule.check(value, prefix + name)
        for name, rule in self._rules.items():
            if name not in message and (rule.needed if isinstance(rule.needed, bool) else rule.needed(message)):
                yield Problem(prefix + name, MISSING)


@cache
def _checker(name: str, scene: Scene) -> _Checker:
    return _Checker(table(name), scene)


def _rule(row: Row, rules: Table, scene: Scene) -> _Rule:
    condition = row.condition
    needed = row.required == ALWAYS if condition is None else bind(condition, _getter, scene.known)
    if not row.common_in(scene.channel, scene.category):
        needed = False
    nested = objects().get(row.type)
    inner = _Checker(Table(nested.name, nested.rows, ascii=rules.ascii), scene) if nested else None
    tests: tuple[Requirement, ...] = ()
    if row.type == "json":
        tests = json_requirements(row, ascii_only=rules.ascii)
    elif row.type == "string":
        tests = text_requirements(row, ascii_only=rules.ascii)
    return _Rule(row, needed, tests, count_requirements(row) if row.array else (), inner)


def _getter(path: str) -> Getter:
    names = path.split(".")

    def read(message: Any) -> str | bool | None:
        value = message
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        # A value of another type is present all the same.
        return value if value is None or isinstance(value, str | bool) else ""

    return read


def _broken(value: Any, requirements: Sequence[Requirement], path: str) -> Iterator[Problem]:
    for requirement in requirements:
        if not requirement.met_by(value):
            yield Problem(path, ISO_CODE if requirement.rule in _ISO_RULES else FORM)
            return
