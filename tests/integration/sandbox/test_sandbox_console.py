"""The console's feed: what a page gets, when it comes back, and when nobody looks."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from yarl import URL

from issuer.callback.v1 import messages_pb2 as callback
from sandbox.common.faults import Drop, Fault
from sandbox.common.gateway_log import begin_log, earlier_log, keep_log
from sandbox.common.tls import browser_context
from sandbox.console.feed import Feed
from sandbox.console.gateway import Gateway, GatewayFollower
from sandbox.d1.acs.purchase import Flow
from sandbox.threeds.encoding import encode
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import buy, until

pytestmark = pytest.mark.usefixtures("edge")


def _read(event: bytes) -> tuple[str, dict[str, Any]]:
    event_id, kind, data = event.decode().strip().split("\n")
    assert kind == "event: changes"
    return event_id.removeprefix("id: "), json.loads(data.removeprefix("data: "))


def test_a_page_that_comes_back_gets_each_item_that_changed_once_and_as_it_is_now() -> None:
    feed, now = Feed(), [1]
    for key in ("a", "b"):
        feed.put("things", key, lambda: {"is": now[0]})
    before, _ = _read(feed.since(0)[1])
    for now[0] in (2, 3):
        feed.put("things", "a", lambda: {"is": now[0]})

    position = feed.position(before)
    assert position is not None
    _, event = _read(feed.since(position)[1])
    assert event == {"counts": {"things": 2}, "changes": [["things", "a", {"is": 3}]]}


def test_the_feed_is_bounded_and_counts_what_it_no_longer_has() -> None:
    feed = Feed()
    for number in range(10_000):
        feed.put("notifications", str(number), dict)
    _, event = _read(feed.since(0)[1])
    assert event["counts"] == {"notifications": 10_000}
    assert [key for _, key, _ in event["changes"]] == [str(number) for number in range(9_800, 10_000)]


def test_an_item_is_written_once_for_all_pages_until_it_changes() -> None:
    feed, written = Feed(), list[int]()

    def render() -> dict[str, int]:
        written.append(len(written))
        return {"written": len(written)}

    feed.put("things", "a", render)
    assert feed.since(0) == feed.since(0)
    assert written == [0]
    feed.put("things", "a", render)
    assert _read(feed.since(0)[1])[1]["changes"] == [["things", "a", {"written": 2}]]


@pytest.mark.parametrize(
    "event_id", ["", "1", "00000000-1", "-", "{name}-", "{name}--1", "{name}-²", "{name}-99999999"]
)
def test_a_position_of_another_sandbox_is_none(event_id: str) -> None:
    feed = Feed()
    name = _read(feed.since(0)[1])[0].partition("-")[0]
    assert feed.position(event_id.format(name=name)) is None
    assert feed.position(f"{name}-0") == 0


async def test_a_log_that_grew_too_long_begins_anew_and_the_page_misses_no_line(tmp_path: Path) -> None:
    log, feed, lines = tmp_path / "d1-gateway.log", Feed(), asyncio.StreamReader()
    assert begin_log(log) == 0
    keeping = asyncio.create_task(keep_log(lines, log, most_bytes=150))
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        follower = GatewayFollower(feed, Gateway(channel, log, {}), time.time)
        for number in range(9):
            line = b'{"event":"callback_completed","correlation_id":"op_%d"}\n' % number
            lines.feed_data(line[:20])
            lines.feed_data(line[20:])
            await until(lambda number=number: b'"op_%d"' % number in log.read_bytes())  # type: ignore[misc]
            if number % 2:
                follower._read_log()
    lines.feed_eof()
    await keeping

    _, event = _read(feed.since(0)[1])
    assert [item["correlation_id"] for _, _, item in event["changes"]] == [f"op_{number}" for number in range(8)]
    sizes = _sizes(tmp_path)
    assert sizes.keys() == {log.name, earlier_log(log).name}
    assert max(sizes.values()) <= 150


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir()}


async def test_the_feed_has_otps_for_the_phone_alone_and_no_card_number(caller: Caller) -> None:
    purchase = buy(caller.sandbox, caller.name, Flow.SMS_OTP)
    await purchase.awaiting()
    [message] = caller.sandbox.phones.messages(purchase.purchase_id)

    url = f"{caller.sandbox.control_url}/console/feed"
    async with asyncio.timeout(10), aiohttp.ClientSession() as session, session.get(url) as response:
        policy = response.headers["Content-Security-Policy"]
        begins = [await response.content.readuntil(b"\n\n") for _ in range(3)]
    _, event = _read(begins[2])
    topics: dict[str, list[str]] = {}
    for topic, _, item in event["changes"]:
        topics.setdefault(topic, []).append(json.dumps(item))

    assert begins[:2] == [b"retry: 500\n\n", b"event: reset\ndata: {}\n\n"]
    assert "default-src 'none'" in policy
    assert message.otp in topics.pop("sms")[-1]
    assert purchase.card.details.credentials is not None
    rest = json.dumps(topics)
    assert purchase.purchase_id in rest
    assert message.otp not in rest
    assert purchase.card.details.credentials.pan not in b"".join(begins).decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_acss_page_passes_unchanged_without_scripts_and_its_forms_go_nowhere_else(
    caller: Caller, host: str
) -> None:
    sandbox = caller.sandbox
    control = f"http://{host}:{URL(sandbox.control_url).port}"
    form = {"creq": encode({"messageType": "CReq"}, padded=False)}
    connector = aiohttp.TCPConnector(ssl=browser_context(sandbox.pki.server_ca))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.post(f"{sandbox.threeds_url}/acs/challenge", data=form) as response:
            page = response.status, await response.text()
        headers = {"Origin": control}
        async with session.post(f"{control}/acs/challenge", data=form, headers=headers) as response:
            assert (response.status, await response.text()) == page
            directives = response.headers["Content-Security-Policy"].split("; ")
        for origin in ("null", "https://shop.example", "http://127.0.0.1:1"):
            for path in ("acs/challenge", "acs/decision", "console/challenges/return"):
                async with session.post(f"{control}/{path}", data=form, headers={"Origin": origin}) as response:
                    assert response.status == 403
    policy = {name: values for name, *values in map(str.split, directives)}
    assert policy["default-src"] == ["'none'"]
    assert "script-src" not in policy
    assert policy["sandbox"] == ["allow-forms", "allow-same-origin"]
    assert policy["frame-ancestors"] == [control]
    paths = ("acs/challenge", "acs/decision", "console/challenges/return")
    assert policy["form-action"] == [f"{control}/{path}" for path in paths]


async def test_an_acs_that_breaks_the_connection_is_told_on_the_page(caller: Caller) -> None:
    caller.sandbox.faults.add(Fault("challenge", drop=Drop.BEFORE))
    answer = await caller.post_form("/acs/challenge", {"creq": "x"})
    assert (answer.status, "does not answer" in answer.text) == (502, True)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"cres": "?"}, 400),
        ({"cres": encode({"transStatus": "Y"}, padded=True)}, 400),
        ({"cres": encode({"transStatus": "<b>", "threeDSServerTransID": "1"}, padded=True)}, 503),
    ],
)
async def test_a_cres_that_is_none_is_refused_and_none_is_believed_without_the_gateway(
    caller: Caller, form: dict[str, str], status: int
) -> None:
    answer = await caller.post_form("/console/challenges/return", form)
    assert (answer.status, "<b>" in answer.text) == (status, False)


async def test_browsers_get_the_page_and_programs_the_list(caller: Caller) -> None:
    async with aiohttp.ClientSession(caller.sandbox.control_url) as session:
        async with session.get("/", headers={"Accept": "text/html,*/*;q=0.8"}) as response:
            page = await response.text()
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        for path in ("/", "/sandbox"):
            async with session.get(path) as response:
                assert "endpoints" in await response.json()
        for path in ("/console/console.js", "/console/console.css", "/console/icon.svg"):
            async with session.get(path) as response:
                assert response.status == 200
                assert path.removeprefix("/") in page or response.content_type == "text/javascript"
        async with session.get("/console/nothing.js") as response:
            assert response.status == 404
        async with session.post("/console/cards/SuspendCard", json={}) as response:
            assert (response.status, await response.json()) == (503, {"error": "the sandbox has no gateway"})


async def test_an_issuer_that_has_left_its_gateway_reports_no_decision_to_it(caller: Caller) -> None:
    sandbox, issuer = caller.sandbox, caller.sandbox.issuer
    purchase = buy(sandbox, caller.name, Flow.OOB_ISSUER)
    request = callback.CallbackRequest()
    request.authenticate.transaction.acs_trans_id = purchase.details["acsTransactionId"]
    await issuer.answer(())
    async with grpc.aio.insecure_channel("127.0.0.1:9") as channel:
        running = asyncio.create_task(issuer.run(channel))
        await issuer.until_settled()
        await issuer.responders(channel)["authenticate"](request)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    purchase.deny()
    await purchase.done()
    await asyncio.sleep(0)

    assert [each for each in sandbox.background.errors if each.startswith("push of")] == []
