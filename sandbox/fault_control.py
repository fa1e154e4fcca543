"""The part of the control API that adds and clears faults on demand."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson
from aiohttp import web

from sandbox.common.faults import EVERY_ANSWER, EVERY_CALLBACK, EVERY_OPERATION, HANDLER, Drop, Fault, Faults
from sandbox.common.fields import (
    InvalidFormatError,
    InvalidValueError,
    flag,
    integer,
    json_object,
    optional_choice,
    optional_text,
    text,
)
from sandbox.d1.model.contract import CALLBACKS, Operation
from sandbox.issuer import REFUSALS
from sandbox.threeds import contract as threeds_contract

__all__ = ["FaultControl"]

_MOST_TIMES: Final = 10_000
_LONGEST_WAIT_MS: Final = 60_000
_LONGEST_MS: Final = 3_600_000
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_OF_RESPONSES: Final = ("headers", "html")
"""Fields that only the simulators' own responses have."""
_OF_HTTP: Final = (*_OF_RESPONSES, "body", "truncate")


@dataclass(frozen=True, slots=True)
class FaultControl:
    """The control API of faults."""

    ENDPOINTS: ClassVar[Mapping[str, str]] = {
        "POST /sandbox/faults": "operation, times or for_ms, latency_ms, status, headers, body, html, drop, truncate",
        "DELETE /sandbox/faults": "",
    }
    """Each endpoint with its fields."""

    faults: Faults
    kinds: Sequence[str]
    """The kinds of callback that the sandbox's handler answers."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.post("/sandbox/faults", self._add), web.delete("/sandbox/faults", self._clear)]

    def operations(self) -> dict[str, list[str]]:
        """Return the operations that faults affect: calls of the gateway, calls of D1, answers of the handler."""
        return {
            "operations": [each.value for each in (*Operation, *threeds_contract.Operation)],
            "callbacks": [EVERY_CALLBACK, *(each.name for each in CALLBACKS)],
            "answers": [EVERY_ANSWER, *(HANDLER + kind for kind in self.kinds)],
        }

    async def _add(self, request: web.Request) -> web.Response:
        self.faults.add(self._fault(json_object(await request.read())))
        return web.Response(status=204)

    async def _clear(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)

    def _fault(self, body: Mapping[str, Any]) -> Fault:
        operation = optional_text(body, "operation") or EVERY_OPERATION
        known = self.operations()
        is_of_gateway = operation in {EVERY_OPERATION, *known["operations"]}
        if not (is_of_gateway or operation in {*known["callbacks"], *known["answers"]}):
            raise InvalidValueError("operation")
        status = integer(body, "status", 200, 200, 599) if "status" in body else None
        is_answer = operation in known["answers"]
        if is_answer and status is not None and status not in REFUSALS:
            raise InvalidValueError("status")
        drop = optional_choice(body, "drop", Drop)
        if drop is Drop.FOR_GOOD and operation not in known["callbacks"]:
            raise InvalidValueError("drop")
        for_ms = integer(body, "for_ms", 1, 1, _LONGEST_MS) if "for_ms" in body else 0
        if for_ms and "times" in body:
            raise InvalidValueError("for_ms")
        for name in () if is_of_gateway else _OF_HTTP if is_answer else _OF_RESPONSES:
            if name in body:
                raise InvalidValueError(name)
        return Fault(
            operation=operation,
            times=integer(body, "times", 1, 1, _MOST_TIMES),
            for_ms=for_ms,
            latency_ms=integer(body, "latency_ms", 0, 0, _LONGEST_WAIT_MS),
            status=status,
            headers=_headers(body),
            body=_body_text(body),
            html=flag(body, "html"),
            drop=drop,
            truncate=flag(body, "truncate"),
        )


def _headers(body: Mapping[str, Any]) -> dict[str, str]:
    headers = body.get("headers", {})
    if not isinstance(headers, dict):
        raise InvalidFormatError("headers")
    if not all(_HEADER_NAME.fullmatch(name) for name in headers):
        raise InvalidFormatError("headers")
    return {name: text(headers, name, _HEADER_VALUE) for name in headers}


def _body_text(body: Mapping[str, Any]) -> str | None:
    if "body" not in body:
        return None
    value = body["body"]
    return value if isinstance(value, str) else orjson.dumps(value).decode()
