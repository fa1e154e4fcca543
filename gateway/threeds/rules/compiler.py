"""Checks a message against the rule tables of its version, channel and category.

The tables are compiled once for every combination that occurs. The resulting plan has a check per protobuf field, and
the required fields. Checking a message then walks the fields that are set.
"""

from collections.abc import Collection, KeysView, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.errors import FieldViolation
from gateway.threeds.rules.checks import (
    Fault,
    FieldCheck,
    Profile,
    field_check,
    forbidden,
    names,
    one_of,
    required,
)
from gateway.threeds.rules.codes import codes_of, enum_beside
from gateway.threeds.rules.conditions import Predicate, bind
from gateway.threeds.rules.formats import Requirement
from gateway.threeds.rules.needs import Need, getter, need
from gateway.threeds.rules.selectors import SELECTORS
from gateway.threeds.rules.tables import ALWAYS, DS_DEFINED, Row, Table, objects, table
from issuer.threeds.v1 import areq_pb2

__all__ = ["check", "check_request"]

_BROWSER: Final = "02"

_NOT_HERE: Final = frozenset({"emv.version", "emv.scope"})
"""The rules of fields that must be absent."""

_MAX_COMPARED: Final = 200
"""With more wrong fields than this, an AReq is not compared with all 27 versions, channels and categories."""


def check_request(areq: areq_pb2.AReq, path: str = "areq") -> list[FieldViolation]:
    """Check an AReq by its own version, channel and category.

    Args:
        areq: The request.
        path: The prefix of every field's path.

    Returns:
        All violations; none contains a value. Where the version, channel or category is not known, those that are
        violations in all of them.
    """
    plan = _request_plan(*[selector.code(areq) for selector in SELECTORS])
    return _undecided(areq, path) if plan is None else _violations(plan, areq, path)


def check(
    message: Message, *, version: str, channel: str, category: str, acs_dec_con_ind: str = "", path: str = ""
) -> list[FieldViolation]:
    """Check a message of `gateway.threeds.rules.tables.MESSAGES`.

    Args:
        message: The message.
        version: The protocol version, for example ``2.2.0``.
        channel: The code of the device channel.
        category: The code of the message category.
        acs_dec_con_ind: The code in the ARes, if the message is an RReq.
        path: The prefix of every field's path.

    Returns:
        All violations; none contains a value.
    """
    return _violations(_plan(message.DESCRIPTOR, Profile(version, channel, category, acs_dec_con_ind)), message, path)


def _undecided(areq: areq_pb2.AReq, path: str) -> list[FieldViolation]:
    """Check an AReq whose version, channel or category is missing or unknown, by the rules of all that it may have."""
    found: list[FieldViolation] = []
    named: set[str] = set()
    choices: list[Collection[str]] = []
    for selector in SELECTORS:
        code = selector.code(areq)
        choices.append([code] if code else selector.codes.values())
        if not code:
            found.append(_violation(path, selector.fault(areq)))
            named |= {_at(path, selector.name), _at(path, selector.text)}
    by_profile: list[dict[str, list[FieldViolation]]] = []
    for codes in product(*choices):
        by_profile.append(_by_field(areq, path, *codes))
        if len(by_profile[-1]) > _MAX_COMPARED:
            return found
    for place in by_profile[0]:
        if place not in named and all(place in each for each in by_profile):
            found += _common([each[place] for each in by_profile])
    return found


def _by_field(areq: areq_pb2.AReq, path: str, *codes: str) -> dict[str, list[FieldViolation]]:
    plan = _request_plan(*codes)
    found: dict[str, list[FieldViolation]] = {}
    for violation in [] if plan is None else _violations(plan, areq, path):
        found.setdefault(violation.field, []).append(violation)
    return found


def _common(alternatives: Sequence[list[FieldViolation]]) -> list[FieldViolation]:
    """Return the violations of a field that is wrong in every version, channel or category."""
    first = alternatives[0]
    if all(each == first for each in alternatives):
        return first
    begin, *more = dict.fromkeys(violation.description for each in alternatives for violation in each)
    others = (text.removeprefix("is required: ").removeprefix("must be ") for text in more)
    return [replace(first[0], description=", or ".join((begin, *others)))]


class _Plan:
    """The rules of a message or object in one version, channel and category."""

    def __init__(self, descriptor: Descriptor, rules: Table, profile: Profile, supplied: frozenset[str]) -> None:
        rows = rules.fields(profile.version)
        self._checks: dict[FieldDescriptor, FieldCheck] = {}
        self._required: set[FieldDescriptor] = set()
        self._conditional: list[tuple[FieldDescriptor, Predicate, Need]] = []
        for field in descriptor.fields:
            beside = enum_beside(field)
            if beside is not None:
                self._checks[field] = _text_beside(beside, profile)
                continue
            row = rows.get(field.json_name)
            if row is None or not row.used_in(profile.channel, profile.category):
                self._checks[field] = forbidden(_why_not(row, profile))
                continue
            inner = self._inner(row, field.message_type, profile, ascii_only=rules.ascii)
            self._checks[field] = field_check(field, row, inner, ascii_only=rules.ascii)
            if row.name not in supplied and row.common_in(profile.channel, profile.category):
                self._require(field, row, descriptor, profile)
        # Valid values need only the test, by field.
        self._tests = {field: check.met_by for field, check in self._checks.items()}

    @staticmethod
    def _inner(row: Row, descriptor: Descriptor | None, profile: Profile, *, ascii_only: bool) -> "_Plan | None":
        nested = objects().get(row.type)
        if nested is None or descriptor is None:
            return None
        return _Plan(descriptor, Table(nested.name, nested.rows, ascii=ascii_only), profile, frozenset())

    def _require(self, field: FieldDescriptor, row: Row, descriptor: Descriptor, profile: Profile) -> None:
        condition = row.condition
        if condition is None:
            if row.required == ALWAYS:
                self._required.add(field)
            return
        known = profile.known
        if "acsDecConInd" not in (other.json_name for other in descriptor.fields):
            known["acsDecConInd"] = profile.acs_dec_con_ind
        needed = bind(condition, lambda path: getter(descriptor, path), known)
        if needed is True:
            self._required.add(field)
        elif needed is not False:
            self._conditional.append((field, needed, need(descriptor, row, condition, known)))

    def met_by(self, message: Message) -> bool:
        """Return whether a message follows every rule."""
        tests = self._tests
        fields = dict(message.ListFields())
        for field, value in fields.items():
            if not tests[field](value):
                return False
        if not self._required <= fields.keys():
            return False
        for field, needed, _ in self._conditional:  # noqa: SIM110 - a generator costs three times as much
            if field not in fields and needed(message):
                return False
        return True

    def faults(self, message: Message) -> list[Fault]:
        """Return every rule that a message breaks."""
        fields = dict(message.ListFields())
        found = [fault.inside(field.name) for field, value in fields.items() for fault in self._broken(field, value)]
        found += [
            Fault(field.name, _missing(field, check))
            for field, check in self._checks.items()
            if field in self._required - fields.keys()
        ]
        return found + self._conditional_faults(message, fields.keys(), found)

    def _conditional_faults(
        self, message: Message, present: KeysView[FieldDescriptor], found: Sequence[Fault]
    ) -> list[Fault]:
        """Return the missing fields that are required, or may be once the fields of their condition are right."""
        missing: dict[FieldDescriptor, Fault] = {}
        # What must be absent will not meet a condition.
        wrong = {fault.path for fault in found if fault.requirement.rule not in _NOT_HERE}
        while more := {
            field: Fault(field.name, why.requirement)
            for field, needed, why in self._conditional
            if field not in present and field not in missing and (needed(message) or why.is_open(message, wrong))
        }:
            missing |= more
            wrong.update(fault.path for fault in more.values())
        return [*missing.values()]

    def _broken(self, field: FieldDescriptor, value: Any) -> Sequence[Fault]:
        check = self._checks[field]
        return () if check.met_by(value) else check.faults(value)


def _missing(field: FieldDescriptor, check: FieldCheck) -> Requirement:
    if field.is_repeated:
        return required()
    if field.enum_type is not None:
        return required(one_of(names(field, [*filter(check.met_by, codes_of(field.enum_type).by_number)])))
    broken = check.faults("") if field.type == FieldDescriptor.TYPE_STRING else ()
    return required(broken[0].requirement if broken else None)


@cache
def _plan(descriptor: Descriptor, profile: Profile, supplied: frozenset[str] = frozenset()) -> _Plan:
    return _Plan(descriptor, table(descriptor.name), profile, supplied)


@cache
def _request_plan(*codes: str) -> _Plan | None:
    """Return the plan for an AReq by the codes of `SELECTORS`; None if one is empty."""
    if not all(codes):
        return None
    profile = Profile(*codes)
    supplied = {name for name, code in profile.known.items() if code == DS_DEFINED}
    if profile.channel != _BROWSER:  # in a browser, LookupCard has given the id
        supplied.add("threeDSServerTransID")
    return _plan(areq_pb2.AReq.DESCRIPTOR, profile, frozenset(supplied))


def _text_beside(beside: FieldDescriptor, profile: Profile) -> FieldCheck:
    """Return the check of a text beside an enum, whose value has been checked when the plan was chosen."""
    if profile.known[beside.json_name] == DS_DEFINED:
        return FieldCheck(lambda _: True, lambda _: ())
    return forbidden(Requirement("emv.either", f"must be empty where {beside.name} is set", bool))


def _why_not(row: Row | None, profile: Profile) -> Requirement:
    if row is None:
        return Requirement("emv.version", f"is not a field of version {profile.version}", bool)
    # The category is named only where it matters, and so may be unknown otherwise.
    here = profile.name if any("/" in each for each in row.scope) else profile.channel_name
    return Requirement("emv.scope", f"is a field of {', '.join(row.scope)} only, not of {here}", bool)


def _violations(plan: _Plan, message: Message, path: str) -> list[FieldViolation]:
    return [] if plan.met_by(message) else [_violation(path, fault) for fault in plan.faults(message)]


def _violation(path: str, fault: Fault) -> FieldViolation:
    return FieldViolation(_at(path, fault.path), fault.requirement.description, fault.requirement.rule)


def _at(path: str, place: str) -> str:
    return f"{path}.{place}" if path else place
