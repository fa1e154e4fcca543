"""No private value appears where it does not belong, in any call or callback."""

import asyncio
import base64
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry, Counter, generate_latest

from adapters.d1.callbacks import schema
from gateway.auth.policy import rpcs_of
from gateway.grpc_api.server import SERVICES
from issuer.callback.v1 import messages_pb2 as callback
from tests.e2e.canary_media import Evidence, Medium
from tests.e2e.canary_run import perform
from tests.e2e.canary_stage import staged
from tests.e2e.canary_values import ALL, JOSE, WORDS, Canaries

ON_PURPOSE: Mapping[str, tuple[Iterable[str], Iterable[Medium]]] = {
    "an upstream's error texts go to the caller, cleared of numbers, tokens and e-mail addresses; a name is a word "
    "like any other, and it goes to whom the request with it came from": (WORDS, [Medium.RPC_STATUS]),
    "a handler's CallbackRefusal.message is the text for D1": (["text of an error reply"], [Medium.EDGE_RESPONSES]),
    "a final result is kept, error and all, for D1's further polls": (["error of a result"], [Medium.FILES]),
    "a notification is kept as D1 sent it, with the fields that nobody knows": (
        ["unrecognized field of a notification"],
        [Medium.FILES],
    ),
    "by D1's contract it is for logs; it goes back to its sender, and on to the subscribers of a notification": (
        ["correlation id"],
        [Medium.LOG, Medium.TRACES, Medium.FILES, Medium.RPC_STATUS],
    ),
    "W3C Trace Context: who traces hands the trace state on": (["trace state"], [Medium.TRACES]),
}
"""Canaries that appear in media by contract, and why."""

FORMS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": lambda value: value,
    "upper case": bytes.upper,
    "base64": base64.b64encode,
    "base64 of more": lambda value: base64.b64encode(b"ab" + value + b"c"),
    "base64url of more": lambda value: base64.urlsafe_b64encode(b"a" + value + b"cd"),
    "hexadecimal": lambda value: value.hex().encode(),
    "URL": lambda value: quote(value, safe="").encode(),
    "escaped": lambda value: b"".join(b"\\u%04X" % byte for byte in value),
    "reversed": lambda value: value[::-1],
    "pairs reversed": lambda value: b"".join(value[start : start + 2][::-1] for start in range(0, len(value), 2)),
    "fours in reverse": lambda value: b"".join(value[start : start + 4] for start in range(0, len(value), 4)[::-1]),
}
"""Ways to write a value."""


@pytest.mark.timeout(300)
async def test_nothing_private_is_found_where_it_does_not_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    evidence = Evidence()
    async with evidence.traces() as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        async with staged(tmp_path, evidence) as stage:
            await perform(stage)
    evidence.add(Medium.STDOUT, "stdout", capfd.readouterr().out)

    assert evidence.canaries.unused == set(), "canaries that went nowhere"
    assert {medium for medium in Medium if not evidence.of(medium)} == set(), "media of which nothing was gathered"
    _check_that_everything_was_done(b"".join(evidence.of(Medium.ADMIN)).decode())
    hits = evidence.hits()
    expected = {(name, medium) for names, media in ON_PURPOSE.values() for name in names for medium in media}
    assert {hit: where for hit, where in hits.items() if hit not in expected} == {}
    assert expected - set(hits) == set(), "exceptions that nothing needs"


def _check_that_everything_was_done(metrics: str) -> None:
    """Check that every rpc and every callback succeeded and failed at least once."""
    rpcs = set(re.findall(r'd1_gateway_rpcs_total{code="(\w+)",rpc="([\w./]+)"}', metrics))
    # A stream that its caller closes has succeeded.
    well = {rpc for code, rpc in rpcs if code in {"OK", "CANCELLED"}}
    badly = {rpc for code, rpc in rpcs if code not in {"OK", "CANCELLED"}}
    assert rpcs_of(SERVICES) - {f"/{rpc}" for rpc in well & badly} == set()
    callbacks = set(re.findall(r'd1_gateway_edge_requests_total{method="\w+",route="([^"]+)",status="(\d)', metrics))
    paths = {value for name, value in vars(schema).items() if name.endswith("_PATH")}
    for status in "24":
        assert paths - {route for route, first in callbacks if first == status} == set(), status


@pytest.mark.parametrize("form", [*FORMS])
def test_every_canary_is_found_in_every_form(form: str) -> None:
    canaries = Canaries()
    for name in ALL:
        # Four digits differ from others only where they are whole.
        if len(canaries[name]) > 4 or form in {"plain", "hexadecimal", "escaped"}:
            assert name in canaries.hits(b'{"before":"' + FORMS[form](canaries[name].encode()) + b'","after":"x"}')


@pytest.mark.parametrize(
    "written", ["4716-9205-3816-4073", "4716 9205 3816 4073", "XXXXXX0538164073", "4716%209205%203816%204073"]
)
def test_a_card_number_is_found_in_groups_and_by_its_end(written: str) -> None:
    assert Canaries().hits(f"card {written}.".encode()) == {"PAN"}


@pytest.mark.parametrize(
    "innocent", ['"duration_ms":8264.1', "127.0.0.1:7391", "2026-11-22T09:20:49.082640Z", "port 82641"]
)
def test_a_short_number_is_not_found_within_another(innocent: str) -> None:
    assert Canaries().hits(innocent.encode()) == set()


def test_a_token_of_any_issuer_is_found() -> None:
    assert Canaries().hits(b"authorization: Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln") == {JOSE}


async def test_a_canary_in_a_medium_that_has_none_by_contract_would_be_found(
    capfd: pytest.CaptureFixture[str],
) -> None:
    evidence = Evidence()
    pan = evidence.canaries["PAN"]
    await (await asyncio.create_subprocess_exec("echo", pan)).wait()
    evidence.add(Medium.STDOUT, "stdout", capfd.readouterr().out)
    violation = callback.ReplyViolation(description=f"{pan} is no card number")
    evidence.add_violations(callback.ReplyAcknowledgement(violations=[violation]))
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ["card"], registry=registry).labels(pan).inc()

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry))

    app = web.Application()
    app.router.add_get("/{path:.*}", metrics)
    async with TestServer(app) as admin:
        await evidence.add_admin(str(admin.make_url("")).rstrip("/"))

    found = {medium for name, medium in evidence.hits() if name == "PAN"}
    # In all others, the run above finds what is there on purpose.
    assert found == set(Medium) - {medium for _, media in ON_PURPOSE.values() for medium in media}
