"""Checks a message against the rule tables of its version, channel and category.

The tables are compiled once for every combination that occurs into a plan: per protobuf field what its value has to
be, and what has to be there. A check then walks the fields that are set.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from gateway.emv.checks import Fault, FieldCheck, Refusal, Scene, field_check
from gateway.emv.codes import codes_of
from gateway.emv.conditions import Getter, Predicate, bind
from gateway.emv.tables import ALWAYS, Row, Table, objects, table
from gateway.emv.values import Requirement
from gateway.errors import FieldViolation
from issuer.threeds.v1 import areq_pb2

__all__ = ["check", "check_request"]

_SUPPLIED: Mapping[str, frozenset[str]] = {
    "01": frozenset({"threeDSServerTransID"}),
    "02": frozenset(),
    "03": frozenset({"threeDSServerTransID"}),
}
"""What the gateway adds to an AReq by itself, per channel. In a browser the id is the one that LookupCard gave."""

_SCENE = ("message_version", "device_channel", "message_category")
"""The fields of an AReq that decide which rules hold for it."""


def check_request(areq: areq_pb2.AReq, path: str = "areq") -> list[FieldViolation]:
    """Check an AReq by the version, channel and category that it names itself.

    Args:
        areq: The request.
        path: What the path of every field begins with.

    Returns:
        Every rule that it breaks; none of them holds a value.
    """
    codes = {name: _code(areq, name) for name in _SCENE}
    missing = [name for name, code in codes.items() if not code]
    if missing:
        return [_violation(path, Fault(name, _REQUIRED)) for name in missing]
    scene = Scene(*codes.values())
    plan = _plan(areq.DESCRIPTOR, scene, _SUPPLIED[scene.channel])
    return [_violation(path, fault) for fault in plan.faults(areq)]


def check(
    message: Message, *, version: str, channel: str, category: str, acs_dec_con_ind: str = "", path: str = ""
) -> list[FieldViolation]:
    """Check a message of `gateway.emv.tables.MESSAGES`.

    Args:
        message: The message.
        version: The protocol version, for example ``2.2.0``.
        channel: The code of the device channel.
        category: The code of the message category.
        acs_dec_con_ind: The code that the ARes had, if the message is an RReq.
        path: What the path of every field begins with.

    Returns:
        Every rule that it breaks; none of them holds a value.
    """
    plan = _plan(message.DESCRIPTOR, Scene(version, channel, category, acs_dec_con_ind), frozenset())
    return [_violation(path, fault) for fault in plan.faults(message)]


class _Plan:
    """What the fields of one message or object have to be, in one version, channel and category."""

    def __init__(self, descriptor: Descriptor, rules: Table, scene: Scene, supplied: frozenset[str]) -> None:
        rows = rules.fields(scene.version)
        self._checks: dict[int, tuple[str, FieldCheck]] = {}
        self._required: list[tuple[int, str]] = []
        self._conditional: list[tuple[int, str, Predicate, Requirement]] = []
        for field in descriptor.fields:
            row = rows.get(field.json_name)
            if row is None or not row.used_in(scene.channel, scene.category):
                self._checks[field.number] = (field.name, Refusal(_refusal(row, scene)))
                continue
            inner = self._inner(row, field.message_type, scene, ascii_only=rules.ascii)
            self._checks[field.number] = (field.name, field_check(field, row, inner, ascii_only=rules.ascii))
            if row.name not in supplied:
                self._require(field.number, field.name, row, descriptor, scene)

    @staticmethod
    def _inner(row: Row, descriptor: Descriptor | None, scene: Scene, *, ascii_only: bool) -> "_Plan | None":
        nested = objects().get(row.type)
        if nested is None or descriptor is None:
            return None
        return _Plan(descriptor, Table(nested.name, nested.rows, ascii=ascii_only), scene, frozenset())

    def _require(self, number: int, name: str, row: Row, descriptor: Descriptor, scene: Scene) -> None:
        condition = row.condition
        needed: Predicate | bool = row.required == ALWAYS
        if condition is not None:
            known = scene.known
            if "acsDecConInd" not in (field.json_name for field in descriptor.fields):
                known["acsDecConInd"] = scene.acs_dec_con_ind
            needed = bind(condition, lambda path: _getter(descriptor, path), known)
        if needed is True:
            self._required.append((number, name))
        elif needed is not False:
            requirement = Requirement("emv.required", f"is required if {row.required}", bool)
            self._conditional.append((number, name, needed, requirement))

    def faults(self, message: Message) -> Iterator[Fault]:
        """Find every rule that a message breaks."""
        checks = self._checks
        present = set()
        for field, value in message.ListFields():
            number = field.number
            present.add(number)
            name, check_value = checks[number]
            found = check_value(value)
            if found:
                for fault in found:
                    yield fault.inside(name)
        for number, name in self._required:
            if number not in present:
                yield Fault(name, _REQUIRED)
        for number, name, holds, requirement in self._conditional:
            if number not in present and holds(message):
                yield Fault(name, requirement)


_REQUIRED = Requirement("emv.required", "is required", bool)


@cache
def _plan(descriptor: Descriptor, scene: Scene, supplied: frozenset[str]) -> _Plan:
    return _Plan(descriptor, table(descriptor.name), scene, supplied)


def _refusal(row: Row | None, scene: Scene) -> Requirement:
    if row is None:
        return Requirement("emv.version", f"is no field of version {scene.version}", bool)
    return Requirement("emv.scope", f"is a field of {', '.join(row.scope)} only, not of {scene.place}", bool)


def _code(areq: areq_pb2.AReq, name: str) -> str:
    return codes_of(areq.DESCRIPTOR.fields_by_name[name].enum_type).by_number.get(getattr(areq, name), "")


def _getter(descriptor: Descriptor, path: str) -> Getter:
    """Make what reads a field by its EMV name, or a field of an object by both names with a dot."""
    name, _, inner = path.partition(".")
    field = next(field for field in descriptor.fields if field.json_name == name)
    attribute = field.name
    if inner and field.message_type is not None:
        read_inner = _getter(field.message_type, inner)
        return lambda message: read_inner(getattr(message, attribute))
    if field.enum_type is not None:
        codes = codes_of(field.enum_type).by_number
        return lambda message: codes.get(getattr(message, attribute))
    if field.has_presence:
        return lambda message: getattr(message, attribute) if message.HasField(attribute) else None
    return lambda message: getattr(message, attribute) or None


def _violation(path: str, fault: Fault) -> FieldViolation:
    field = f"{path}.{fault.path}" if path else fault.path
    return FieldViolation(field, fault.requirement.description, fault.requirement.rule)
