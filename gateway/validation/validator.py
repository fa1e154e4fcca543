"""Checks messages against the rules of their contract, before any code of ours looks into them."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from protovalidate import Validator, Violation

from gateway.errors import FieldViolation
from gateway.validation.truncate import MOST_NAMED, invalid_request

__all__ = ["Rules", "Validation"]

Rules: TypeAlias = Callable[[Message], Sequence[FieldViolation]]
"""Finds what a message breaks of the rules that no annotation can say."""

_UNREADABLE = FieldViolation("", "the bytes are no message of this type", "protobuf.encoding")


class Validation:
    """Names the fields of a message that break a rule."""

    def __init__(self, rules: Rules | None = None) -> None:
        """Prepare.

        Args:
            rules: What to check beside the protovalidate annotations.
        """
        self._validator = Validator()
        self._rules = rules

    def prepare(self, service: str) -> None:
        """Compile the rules of a service's requests now, so that its first caller does not wait for it.

        Args:
            service: The service's full name.
        """
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            self._validator.collect_violations(message_factory.GetMessageClass(method.input_type)())

    def violations(self, message: Message | None) -> tuple[Sequence[FieldViolation], int]:
        """Find what a message breaks; None stands for bytes that are no such message.

        Returns:
            The violations, and how many there are beyond these.
        """
        if message is None:
            return [_UNREADABLE], 0
        found = self._validator.collect_violations(message)
        violations = [_translate(violation) for violation in found[:MOST_NAMED]]
        if self._rules is not None:
            violations += self._rules(message)
        return violations, len(found[MOST_NAMED:])

    def check(self, message: Message | None) -> None:
        """Refuse a message that breaks a rule.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        violations, unnamed_count = self.violations(message)
        if violations:
            raise invalid_request(violations, unnamed_count)


def _translate(violation: Violation) -> FieldViolation:
    proto = violation.proto
    # A field's value never goes into the description; protovalidate's own texts hold none.
    return FieldViolation(_path(violation), proto.message, proto.rule_id)


def _path(violation: Violation) -> str:
    field = violation.proto.field
    if field is None:
        return ""
    names = []
    for element in field.elements:
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None and subscript.field == "index" else ""
        names.append(element.field_name + index)
    return ".".join(names)
