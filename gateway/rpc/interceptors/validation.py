"""Refuses a request that breaks its contract, before any code of ours sees it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from google.protobuf.message import Message
from protovalidate import Validator, Violation

from gateway.errors import FieldViolation, GatewayError
from gateway.rpc.interceptors.around import AroundInterceptor, Context
from issuer.common.v1 import error_pb2

__all__ = ["ValidationInterceptor"]

# They travel in the trailing metadata, of which a gRPC client takes no more than 8 KiB unless told otherwise.
_MOST_NAMED = 20


class ValidationInterceptor(AroundInterceptor):
    """Checks every request against the protovalidate rules of its contract and names the fields that break one."""

    def __init__(self) -> None:
        super().__init__()
        self._validator = Validator()

    @asynccontextmanager
    async def around(self, method: str, request: Message, context: Context) -> AsyncIterator[None]:
        """Check, then go on.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        del method, context
        violations = self._validator.collect_violations(request)
        if violations:
            del violations[_MOST_NAMED:]
            raise GatewayError(
                error_pb2.ERROR_REASON_INVALID_REQUEST,
                "The request breaks its contract: " + _summary(violations),
                outcome=error_pb2.OUTCOME_NOT_SENT,
                violations=[_translate(violation) for violation in violations],
            )
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


def _summary(violations: Iterable[Violation]) -> str:
    return ", ".join(sorted({_path(violation) or "the request as a whole" for violation in violations}))
