"""Refuses a request that breaks its contract, before any code of ours sees it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from google.protobuf.message import Message
from protovalidate import Validator, Violation

from gateway.errors import FieldViolation
from gateway.rpc.interceptors.around import AroundInterceptor, Context
from gateway.violations import MOST_NAMED, invalid_request

__all__ = ["Rules", "ValidationInterceptor"]

Rules: TypeAlias = Callable[[Message], Sequence[FieldViolation]]
"""Finds what a request breaks of the rules that no annotation can say."""

_UNREADABLE = FieldViolation("", "the bytes are no message of this type", "protobuf.encoding")


class ValidationInterceptor(AroundInterceptor):
    """Checks every request against the rules of its contract and names the fields that break one."""

    def __init__(self, rules: Rules | None = None) -> None:
        """Prepare.

        Args:
            rules: What to check beside the protovalidate annotations.
        """
        super().__init__()
        self._validator = Validator()
        self._rules = rules

    @asynccontextmanager
    async def around(self, method: str, request: Message | None, context: Context) -> AsyncIterator[None]:
        """Check, then go on.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        del method, context
        if request is None:
            raise invalid_request([_UNREADABLE])
        found = self._validator.collect_violations(request)
        violations = [_translate(violation) for violation in found[:MOST_NAMED]]
        if self._rules is not None:
            violations += self._rules(request)
        if violations:
            raise invalid_request(violations, unnamed_count=len(found[MOST_NAMED:]))
        yield


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
