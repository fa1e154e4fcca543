"""Requests that the edge rejects: each error has its status and text, is logged, and reaches no watcher."""

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.integration.edge.edge_caller import EdgeCaller, Response, event, raw_request, stored
from tests.running import notification_path

_MARK = "5413330089010434"
"""A marker of data that must stay out of the log."""
_LIMIT = 65_536


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with capture_logs() as entries:
        yield entries


async def _nothing_stored_but_logged(
    caller: EdgeCaller, logged: list[EventDict], caplog: pytest.LogCaptureFixture, response: Response
) -> None:
    errors = [entry for entry in logged if entry["event"] == "callback_rejected"]
    assert [(entry["status"], entry["error"]) for entry in errors] == [
        (response.status, response.error(response.status))
    ]
    assert _MARK not in repr(logged)
    assert _MARK not in caplog.text
    assert not [entry for entry in logged if entry["log_level"] == "error"]
    assert await stored(caller.running) == []
    assert (await caller.notify()).status == 204


@dataclass(frozen=True, slots=True)
class _Case:
    """A request that the edge rejects."""

    status: int
    error: str
    """Part of the text."""
    data: Any = field(default_factory=lambda: json.dumps(event()).encode())
    content_type: str = "application/json"
    method: str = "POST"
    path: str = notification_path("card-1")
    headers: dict[str, str] = field(default_factory=dict)


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 4096):
        yield b" " * 4096


_PATH = notification_path
_CASES = {
    "no JSON": _Case(400, "not JSON", f"operationId={_MARK}".encode()),
    "half of a JSON object": _Case(400, "not JSON", f'{{"operationId":"{_MARK}"'.encode()),
    "nothing": _Case(400, "not JSON", b""),
    "no UTF-8": _Case(400, "not JSON", f'{{"operationId":"{_MARK}\xff"}}'.encode("latin-1")),
    "half of a surrogate pair": _Case(400, "not JSON", f'{{"operationId":"{_MARK}\\ud800"}}'.encode()),
    "not a number": _Case(400, "not JSON", b'{"operationId":NaN}'),
    "thousands of brackets": _Case(400, "not JSON", b"[" * 50_000),
    "arrays in arrays": _Case(400, "nests deeper than 32", b'{"details":' + b"[" * 40 + b"]" * 40 + b"}"),
    "objects in objects": _Case(400, "nests deeper than 32", b'{"a":' * 40 + b"1" + b"}" * 40),
    "both in turn": _Case(400, "nests deeper than 32", b'{"a":[' * 20 + b"1" + b"]}" * 20),
    "an array": _Case(400, "JSON object", f'["{_MARK}"]'.encode()),
    "a string": _Case(400, "JSON object", f'"{_MARK}"'.encode()),
    "null": _Case(400, "JSON object", b"null"),
    "a form": _Case(415, "application/json", f"operationId={_MARK}".encode(), "application/x-www-form-urlencoded"),
    "text": _Case(415, "application/json", f"{_MARK}".encode(), "text/plain"),
    "problem+json": _Case(415, "application/json", content_type="application/problem+json"),
    "too large": _Case(413, "too large", _MARK.encode() * 5_000),
    "too large, unpacked": _Case(
        413, "too large", gzip.compress(b" " * 1_000_000), headers={"Content-Encoding": "gzip"}
    ),
    "an unknown issuer": _Case(404, "issuerId", path=_PATH("card-1", _MARK[:10])),
    "an issuer of another length": _Case(404, "issuerId", path=_PATH("card-1", "SHORT")),
    "a card id that is too long": _Case(400, "cardId", path=_PATH("c" * 49)),
    "a card id with a dot": _Case(400, "cardId", path=_PATH(f"{_MARK}.x")),
    "a card id with a space": _Case(400, "cardId", path=_PATH("a%20b")),
    "an unknown path": _Case(404, "not found", path=f"/{_MARK}"),
    "the path with a slash behind": _Case(404, "not found", path=_PATH("card-1") + "/"),
    "the root": _Case(404, "not found", path="/"),
    "the token endpoint, which is off": _Case(404, "not found", path="/authz/d1/v1/oauth2/token"),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES.keys())
async def test_what_is_wrong_is_refused(
    caller: EdgeCaller, logged: list[EventDict], caplog: pytest.LogCaptureFixture, case: _Case
) -> None:
    headers = {"Content-Type": case.content_type} | case.headers
    response = await caller.request(case.method, case.path, data=case.data, headers=headers)
    assert case.error in response.error(case.status)
    await _nothing_stored_but_logged(caller, logged, caplog, response)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_gets_the_allowed_one(
    caller: EdgeCaller, logged: list[EventDict], caplog: pytest.LogCaptureFixture, method: str
) -> None:
    response = await caller.request(method, notification_path("card-1"), data=_MARK)
    assert response.error(405) == "method not allowed"
    assert response.headers["allow"] == "POST"
    await _nothing_stored_but_logged(caller, logged, caplog, response)


async def test_a_body_that_grows_too_large_in_chunks_is_refused(
    caller: EdgeCaller, logged: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    response = await caller.post(_chunks(2 * _LIMIT))
    assert response.error(413) == "the body is too large"
    await _nothing_stored_but_logged(caller, logged, caplog, response)


async def test_the_largest_body_is_taken(caller: EdgeCaller) -> None:
    text = json.dumps(event()).encode()
    assert (await caller.post(text + b" " * (_LIMIT - len(text)))).status == 204
    assert (await caller.post(text + b" " * (_LIMIT - len(text) + 1))).status == 413
    assert len(await stored(caller.running)) == 1


_WRONG: dict[str, tuple[Any, ...]] = {
    "operationId": (..., None, "", 7, _MARK + " ", "a" * 65, "a/b", "\u00e9", [_MARK]),
    "operation": (..., None, "", 7, "A" * 65, {"name": _MARK}),
    "status": (..., None, "", True, "A" * 65, [_MARK]),
    "startTime": (..., None, "", 1_655_360_882, "9" * 65),
    "consumerId": ("", 7, f"{_MARK} x", "a" * 65, {}),
    "details": (_MARK, 7, [], True),
    "error": (7, [_MARK], "x" * 4097),
    "details.acsTransactionId": (7, "x" * 65, [_MARK]),
    "details.threeDSServerTransId": (7, "x" * 65, {"id": _MARK}),
}
"""By field: values that the edge rejects."""


def _schema_cases() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, values in _WRONG.items():
        for value in values:
            outer, _, inner = name.partition(".")
            yield name, event(**{outer: {inner: value} if inner else value})
    deep: Any = _MARK
    for _ in range(16):
        deep = {"inner": deep}
    yield "later", event(later=deep)
    yield "details.later", event(details={"later": deep})


async def test_a_wrong_field_is_named_and_its_value_is_not(
    caller: EdgeCaller, logged: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    sent = 0
    for name, body in _schema_cases():
        text = (await caller.notify(body)).error(400)
        assert text.startswith(f"{name} "), (text, body)
        assert _MARK not in text
        sent += 1
    assert [entry["status"] for entry in logged if entry["event"] == "callback_rejected"] == [400] * sent
    assert _MARK not in repr(logged) + caplog.text
    assert await stored(caller.running) == []


async def test_what_d1_may_leave_out_or_add_is_taken(caller: EdgeCaller) -> None:
    bodies = [
        event(operationId="op_1", consumerId=..., details=...),
        event(operationId="op_2", consumerId=None, details=None, error=None),
        event(operationId="op_3", details={}, error=""),
        event(operationId="op_4", startTime="yesterday", later={"deep": [[[1.5, None]]]}),
        event(operationId="op_5", operation="3DS_LATER", status="LATER"),
    ]
    assert [(await caller.notify(body)).status for body in bodies] == [204] * 5
    held = [each.three_ds_operation for each in await stored(caller.running)]
    assert [operation.operation_id for operation in held] == [f"op_{number}" for number in range(1, 6)]
    assert [operation.HasField("details") for operation in held] == [False, False, True, True, True]
    assert (held[3].start_time_text, held[3].HasField("start_time")) == ("yesterday", False)


async def test_a_name_that_is_no_text_for_people_is_not_repeated_in_full(
    caller: EdgeCaller, logged: list[EventDict]
) -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    text = (await caller.notify(event(**{"line\nbreak\x1b[31m" + "x" * 500: deep}))).error(400)
    assert text.isprintable()
    assert len(text) < 200
    assert "x" * 100 not in repr(logged)


@pytest.mark.parametrize(
    "request_",
    [
        b"NOT HTTP " + _MARK.encode() + b"\r\n\r\n",
        raw_request(b"{}", f"Bad Header {_MARK}"),
        raw_request(b"{}", "Content-Length: 2", "Content-Length: 3"),
        raw_request(b"{}", "Content-Length: -1"),
        raw_request(b"{}", f"X-Long: {'x' * 20_000}"),
        raw_request(b"", path="/" + "p" * 20_000),
        raw_request(b"zz\r\n" + _MARK.encode() + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        raw_request(b"0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 5"),
        raw_request(b"no gzip " + _MARK.encode(), "Content-Encoding: gzip"),
    ],
    ids=lambda request_: request_[:12].decode() + str(len(request_)),
)
async def test_what_is_no_http_is_refused_with_a_400_and_serving_continues(
    caller: EdgeCaller, logged: list[EventDict], request_: bytes
) -> None:
    async with caller.connection() as (reader, writer):
        writer.write(request_)
        assert (await caller.read(reader)).status == 400
    assert _MARK not in repr(logged)
    assert await stored(caller.running) == []
    assert (await caller.notify()).status == 204
