"""Requests that the edge rejects: each error has its status and text, is logged, and reaches no watcher."""

import gzip
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf import json_format
from prometheus_client.parser import text_string_to_metric_families
from structlog.typing import EventDict

from sandbox.handler import Handler
from tests.callback_replies import Issuer
from tests.integration.edge.edge_caller import EdgeCaller, Response, consumer_event, edge_log, event
from tests.running import consumer_notification_path, notification_path

_MARK = "5413330089010434"
"""A marker of data that must stay out of the log."""
_LIMIT = 65_536
_Check = Callable[[Response], Awaitable[None]]


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with edge_log() as entries:
        yield entries


@pytest.fixture
def refused(caller: EdgeCaller, logged: list[EventDict], caplog: pytest.LogCaptureFixture) -> _Check:
    async def check(response: Response) -> None:
        """Check that a request was logged without its data, that nothing was stored, and that the next one is taken."""
        errors = [entry for entry in logged if entry["event"] == "callback_rejected"]
        assert [(entry["status"], entry["error"]) for entry in errors] == [
            (response.status, response.error(response.status))
        ]
        assert all(entry["correlation_id"] for entry in errors)
        assert _MARK not in repr(logged) + caplog.text
        assert not [entry for entry in logged if entry["log_level"] == "error"]
        assert await caller.stored() == []
        assert (await caller.notify()).status == 204

    return check


@dataclass(frozen=True, slots=True)
class _Case:
    """A request that the edge rejects."""

    status: int
    error: str
    """Part of the text."""
    data: bytes = field(default_factory=lambda: json.dumps(event()).encode())
    content_type: str = "application/json"
    path: str | None = None
    """The path, if it is not that of the caller's notifications."""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 4096):
        yield b" " * 4096


_PATH, _CONSUMER = notification_path, consumer_notification_path
_CASES = {
    "no JSON": _Case(400, "not JSON", f"operationId={_MARK}".encode()),
    "half of a JSON object": _Case(400, "not JSON", f'{{"operationId":"{_MARK}"'.encode()),
    "nothing": _Case(400, "not JSON", b""),
    "no UTF-8": _Case(400, "not JSON", f'{{"operationId":"{_MARK}\xff"}}'.encode("latin-1")),
    "not a number": _Case(400, "not JSON", b'{"operationId":NaN}'),
    "thousands of brackets": _Case(400, "nests deeper than 20", b"[" * 50_000),
    "arrays in arrays": _Case(400, "nests deeper than 20", b'{"details":' + b"[" * 40 + b"]" * 40 + b"}"),
    "objects in objects": _Case(400, "nests deeper than 20", b'{"a":' * 40 + b"1" + b"}" * 40),
    "both in turn": _Case(400, "nests deeper than 20", b'{"a":[' * 20 + b"1" + b"]}" * 20),
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
    "a consumer of an unknown issuer": _Case(404, "unknown issuerId", path=_CONSUMER("consumer-1", _MARK[:10])),
    "a consumer id that is too long": _Case(400, "consumerId must match", path=_CONSUMER("c" * 65)),
    "a consumer id with a space": _Case(400, "consumerId must match", path=_CONSUMER("c%20d")),
    "a consumer's array": _Case(400, "JSON object", f'["{_MARK}"]'.encode(), path=_CONSUMER("c")),
    "a consumer's wrong field": _Case(
        400, "operationId must match", json.dumps(consumer_event(operationId=_MARK + "/")).encode(), path=_CONSUMER("c")
    ),
    "no gzip": _Case(400, "cannot be read", b"no gzip " + _MARK.encode(), headers={"Content-Encoding": "gzip"}),
    "an unknown path": _Case(404, "not found", path=f"/{_MARK}"),
    "the path with a slash behind": _Case(404, "not found", path=_PATH("card-1") + "/"),
    "the root": _Case(404, "not found", path="/"),
    **{
        method: _Case(405, "method not allowed", _MARK.encode(), method=method)
        for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS")
    },
    "the token endpoint, which is off": _Case(404, "not found", path="/authz/d1/v1/oauth2/token"),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES.keys())
async def test_what_is_wrong_is_refused(caller: EdgeCaller, refused: _Check, case: _Case) -> None:
    headers = {"Content-Type": case.content_type} | case.headers
    response = await caller.request(case.method, case.path or caller.path, data=case.data, headers=headers)
    assert case.error in response.error(case.status)
    assert response.headers.get("allow") == ("POST" if case.status == 405 else None)
    await refused(response)


async def test_a_body_that_grows_too_large_in_chunks_is_refused(caller: EdgeCaller, refused: _Check) -> None:
    response = await caller.post(_chunks(2 * _LIMIT))
    assert response.error(413) == "the body is too large"
    await refused(response)


async def test_the_largest_body_is_taken(caller: EdgeCaller) -> None:
    text = json.dumps(event()).encode()
    assert (await caller.post(text.ljust(_LIMIT))).status == 204
    assert (await caller.post(text.ljust(_LIMIT + 1))).status == 413
    assert await caller.stored_operations() == ["op_1"]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b"74999999999999999999991", "74999999999999999999991"),
        (b"1e999", "1e999"),
        (b"7" * 400, "7" * 400),
        (rb'"Caf\ud83d"', "Caf\ufffd"),
        (b"null", None),
        (b"[" * 19 + b"1" + b"]" * 19, ...),
    ],
)
async def test_json_that_others_write_in_their_own_way_is_taken(
    caller: EdgeCaller, written: bytes, kept: object
) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(event(consumerId=None)).encode()[:-1] + b',"later":' + written + b"}"
    assert (await caller.post(body)).status == 204
    (stored,) = await caller.stored()
    unrecognized = json_format.MessageToDict(stored.three_ds_operation.unrecognized)
    assert unrecognized == {"later": unrecognized["later"] if kept is ... else kept}


async def test_an_unusable_operation_id_is_named_and_its_value_is_not(
    caller: EdgeCaller, logged: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    unusable = (..., None, "", 7, [_MARK], {"id": _MARK}, _MARK + " ", _MARK * 5)
    for given in unusable:
        for response in (
            await caller.notify(event(operationId=given)),
            await caller.notify_consumer(consumer_event(operationId=given)),
            await caller.notify({"operations": [event(operationId=given)]}),
        ):
            text = response.error(400)
            assert text.removeprefix("operations[0].").startswith("operationId must match ")
            assert _MARK not in text
    assert [entry["status"] for entry in logged if entry["event"] == "callback_rejected"] == [400] * 3 * len(unusable)
    assert _MARK not in repr(logged) + caplog.text
    assert await caller.stored() == []


async def test_what_does_not_fit_is_kept_and_counted_and_logged_without_its_value(
    caller: EdgeCaller, logged: list[EventDict]
) -> None:
    odd: dict[str, Any] = {
        "consumerId": [""],
        "error": [{"code": _MARK}, _MARK * 313],
        "details": [[_MARK]],
        "details.acsTransactionId": [7, "4" * 65],
        "status": [..., 5, ""],
        "operation": [..., _MARK * 5],
        "startTime": [..., 1655360882],
    }
    before = await _misfits(caller)
    sent = []
    for path, values in odd.items():
        for value in values:
            field, _, detail = path.partition(".")
            given = {detail: value} if detail else value
            sent.append((path, given))
            response = await caller.notify(event(operationId=f"op_{len(sent)}", **{field: given}))
            assert (response.status, response.body) == (204, b""), path
    held = [each.three_ds_operation for each in await caller.stored()]
    assert [each.operation_id for each in held] == [f"op_{number + 1}" for number in range(len(sent))]
    for (path, given), operation in zip(sent, held, strict=True):
        field, _, detail = path.partition(".")
        kept = json_format.MessageToDict(operation.details.unrecognized if detail else operation.unrecognized)
        assert kept == (given if detail else {} if given in (..., "") and field != "status" else _kept(field, given))
    counted = {path: count - before.get(path, 0) for path, count in (await _misfits(caller)).items()}
    assert {path: count for path, count in counted.items() if count} == {
        path: len(values) for path, values in odd.items()
    }
    lines = [entry for entry in logged if entry["event"] == "misfits_kept"]
    assert len(lines) <= 2, "at most one in ten seconds"
    assert _MARK not in repr(logged)


async def test_what_does_not_fit_in_a_callback_request_is_counted_and_logged_without_its_value(
    caller: EdgeCaller, logged: list[EventDict]
) -> None:
    purchase = {"acsTransId": [_MARK], "merchantName": {"name": _MARK}, "purchaseAmount": 19.5, "purchaseDate": 5}
    otp = {"otp": {"value": "004211", "reason": 7}, "panSuffix": 1234, "threeDSDetails": purchase}
    consumer = f"/banking/d1/v1/issuers/SANDBOX001/consumers/{caller.consumer_id}"
    before = await _misfits(caller)
    async with Handler.connect(caller.running.channel, Issuer().responders()) as handler:
        assert (await caller.request("POST", f"{consumer}/otp", json=otp)).status == 204
        for body in ({"cardId": [_MARK], "threeDSDetails": _MARK}, {"threeDSDetails": purchase}, {"later": _MARK}):
            assert (await caller.request("POST", f"{consumer}/authentication", json=body)).status == 200
    kept = json_format.MessageToDict(handler.requests[0].deliver_otp.transaction.unrecognized)
    assert kept == purchase
    counted = {path: count - before.get(path, 0) for path, count in (await _misfits(caller)).items()}
    assert {path: count for path, count in counted.items() if count} == {
        "otp.reason": 1,
        "panSuffix": 1,
        "cardId": 1,
        "threeDSDetails": 1,
        **{f"threeDSDetails.{name}": 2 for name in purchase},
    }
    lines = [entry for entry in logged if entry["event"] == "misfits_kept"]
    assert {entry["message"] for entry in lines} == {"deliver_otp", "authenticate"}
    assert _MARK not in repr(logged)


def _kept(field: str, given: Any) -> dict[str, Any]:
    return {} if given is ... else {field: given}


async def _misfits(caller: EdgeCaller) -> dict[str, float]:
    """Return how many fields of each path did not fit."""
    async with caller.session.get(f"http://{caller.running.addresses.admin}/metrics") as response:
        samples = [each for family in text_string_to_metric_families(await response.text()) for each in family.samples]
    counts: defaultdict[str, float] = defaultdict(float)
    for sample in samples:
        if sample.name == "d1_gateway_upstream_misfits_total":
            counts[sample.labels["field"]] += sample.value
    return counts


async def test_an_error_names_the_card_or_the_consumer_in_the_log(caller: EdgeCaller, logged: list[EventDict]) -> None:
    (await caller.notify(event(operationId=...), **{"x-correlation-id": "known-42"})).error(400)
    (await caller.notify_consumer(consumer_event(operationId=...))).error(400)
    card, consumer = (entry for entry in logged if entry["event"] == "callback_rejected")
    assert (card["issuer_id"], card["card_id"]) == ("SANDBOX001", caller.card_id), "what to fetch from D1"
    assert card["correlation_id"] == "known-42"
    assert (consumer["issuer_id"], consumer["consumer_id"]) == ("SANDBOX001", caller.consumer_id)
    assert consumer["callback"] == consumer_notification_path("{consumerId}", "{issuerId}")
