"""Checks messages against their contract before any other code reads them."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from protovalidate import Validator

from gateway.errors import FieldViolation, GatewayError
from gateway.validation.truncate import MAX_VIOLATIONS, invalid_request
from gateway.validation.wording import field_violation

__all__ = ["Rules", "Validation", "unreadable"]

Rules: TypeAlias = Callable[[Message], Sequence[FieldViolation]]
"""Returns the violations of rules that annotations cannot express."""

_UNREADABLE = FieldViolation("", "the bytes are not a message of the rpc's request type", "protobuf.encoding")


class Validation:
    """Finds the violations of a message."""

    def __init__(self, rules: Rules | None = None) -> None:
        """Use protovalidate annotations, and further rules if given."""
        self._validator = Validator()
        self._rules = rules

    def prepare(self, service: str) -> None:
        """Compile the rules of a service (by full name) now, so that its first caller does not wait for it."""
        for method in descriptor_pool.Default().FindServiceByName(service).methods:
            self._validator.collect_violations(message_factory.GetMessageClass(method.input_type)())

    def violations(self, message: Message) -> tuple[Sequence[FieldViolation], int]:
        """Find the violations of a message.

        Returns:
            The violations, and the number of further ones.
        """
        found = self._validator.collect_violations(message)
        violations = [field_violation(each, message) for each in found[:MAX_VIOLATIONS]]
        if self._rules is not None:
            violations += self._rules(message)
        return violations, len(found[MAX_VIOLATIONS:])

    def check(self, message: Message) -> None:
        """Reject a message that breaks a rule.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        violations, unnamed_count = self.violations(message)
        if violations:
            raise invalid_request(violations, unnamed_count)


def unreadable() -> GatewayError:
    """Return the error for bytes that are no message of the expected type."""
    return invalid_request([_UNREADABLE])
