"""`d1-gateway-client answer`: a person, a pipe or a file answers D1's callbacks."""

import asyncio
import itertools
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.store import CardDetails, Credentials
from tests.e2e.command import CLIENT, Ended, ended, invoked, running, started

_NUMBERS = itertools.count(1)
_PHONE = {"country_code": "+44", "phone_number": "7700900123"}


@pytest.fixture
def card(shared_sandbox: Sandbox) -> str:
    number = next(_NUMBERS)
    details = CardDetails(
        f"consumer_{number}", "light", InitialState.ACTIVE, credentials=Credentials(f"49701055{number:08d}", "1231")
    )
    shared_sandbox.store.register(f"card_{number}", details)
    return f"card_{number}"


@asynccontextmanager
async def answering(
    caller: Mapping[str, str], *options: str | Path, stdin: int = PIPE, stderr: int = PIPE
) -> AsyncIterator[Process]:
    command = running(
        "answer", *options, program="d1-gateway-client", stdin=stdin, stderr=stderr, session=True, environment=caller
    )
    async with asyncio.timeout(30), command as process:
        if process.stderr is not None:
            line = await process.stderr.readline()
            assert line.startswith(b"d1-gateway-client: answers "), line + await process.stderr.read()
        yield process


async def shown(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(await process.stdout.readline())
    return line


def buy(sandbox: Sandbox, card_id: str, flow: Flow) -> Purchase:
    return sandbox.purchases.start(Order(card_id, flow, poll_seconds=0.05, poll_limit_seconds=1))


async def test_each_piped_line_answers_one_callback_and_the_last_ends_the_command(
    shared_sandbox: Sandbox, caller: Mapping[str, str], card: str
) -> None:
    async with answering(caller, "--kind", "deliver_otp") as process:
        assert process.stdin is not None
        process.stdin.write(b'\n{"otp":"123456"}\nrefuse never\nrefuse not_found no such person\n')
        process.stdin.close()

        bought = buy(shared_sandbox, card, Flow.SMS_OTP_ISSUER)
        callback = await shown(process)
        assert await bought.awaiting() is Status.AWAITS_OTP, "an empty line is the usual reply"
        assert bought.type_otp(callback["request"]["otp"])
        refused = buy(shared_sandbox, card, Flow.SMS_OTP_ISSUER)
        assert await refused.done() is Status.FAILED
        done = await ended(process)

    assert (callback["kind"], callback["attempt"], callback["correlationId"]) == ("deliver_otp", 1, bought.operation_id)
    assert 0 < callback["secondsLeft"] <= 2
    assert [call.status for call in refused.calls] == [404]
    assert done.status == 0
    assert done.mistakes == [
        "d1-gateway-client: reply: otp: unknown field",
        "d1-gateway-client: reply: refuse: expected invalid, not_allowed, not_found or failed, and maybe a text for D1",
    ], "a mistake is told without its value, and the next line counts"


async def test_a_person_types_the_reply_at_a_prompt_and_ctrl_c_waits_for_it(
    shared_sandbox: Sandbox, caller: Mapping[str, str], card: str
) -> None:
    near, far = os.openpty()
    try:
        async with answering(caller, "--kind", "authenticate", stdin=far, stderr=far) as process:
            await _screen(near, b"Ctrl-C ends")
            os.write(near, b"typed before there is a callback\n")
            bought = buy(shared_sandbox, card, Flow.OOB_ISSUER)
            asked = await _screen(near, b"REASON: ")
            process.send_signal(signal.SIGINT)
            await _screen(near, b"Ctrl-C again")
            os.write(near, b'{"authentication_id":"auth_1"}\n')
            status = await process.wait()
            assert await bought.done() is Status.FAILED, "nobody answers what follows"
    finally:
        os.close(near)
        os.close(far)

    assert status == 0
    assert b'Enter for {"authentication_id": "..."}' in asked
    assert [call.status for call in bought.calls[:1]] == [200]


async def test_what_was_typed_too_late_does_not_answer_the_next_callback(
    shared_sandbox: Sandbox, caller: Mapping[str, str], card: str
) -> None:
    near, far = os.openpty()
    try:
        async with answering(caller, "--kind", "deliver_otp", stdin=far, stderr=far) as process:
            await _screen(near, b"Ctrl-C ends")
            late = buy(shared_sandbox, card, Flow.SMS_OTP_ISSUER)
            await _screen(near, b"REASON: ")
            said = await _screen(near, b"no reply in time")
            os.write(near, b"refuse failed\n")
            await _screen(near, b"refuse failed")
            bought = buy(shared_sandbox, card, Flow.SMS_OTP_ISSUER)
            await _screen(near, b"REASON: ")
            os.write(near, b"\n")
            assert await bought.awaiting() is Status.AWAITS_OTP, bought.error
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    finally:
        os.close(near)
        os.close(far)

    assert late.status is Status.FAILED
    assert said.startswith(b"\r\nd1-gateway-client: "), "the prompt is over"


async def test_a_second_ctrl_c_leaves_an_open_callback_without_a_reply(
    shared_sandbox: Sandbox, caller: Mapping[str, str], card: str
) -> None:
    async with answering(caller, "--kind", "deliver_otp") as process:
        bought = buy(shared_sandbox, card, Flow.SMS_OTP_ISSUER)
        await shown(process)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert b"Ctrl-C again" in await process.stderr.readline()
        status = await process.wait()
        assert await bought.done() is Status.FAILED

    assert status == 130


@pytest.mark.parametrize(
    ("output", "status", "mistakes"),
    [
        (">(true)", 0, []),
        ("/dev/full", 1, ["d1-gateway-client: standard output: No space left on device"]),
    ],
)
async def test_the_command_ends_without_a_reply_when_nobody_can_read_what_it_prints(
    shared_sandbox: Sandbox, caller: Mapping[str, str], card: str, output: str, status: int, mistakes: list[str]
) -> None:
    program = Path(sys.executable).with_name("d1-gateway-client")
    script = f"exec '{program}' answer --kind deliver_otp --refuse not_found > {output}"
    async with asyncio.timeout(30), started("bash", "-c", script, environment=caller) as process:
        assert process.stderr is not None
        assert b"answers deliver_otp" in await process.stderr.readline()
        bought = buy(shared_sandbox, card, Flow.SMS_OTP_ISSUER)
        done = await ended(process)
        assert await bought.done() is Status.FAILED

    assert (done.status, done.mistakes) == (status, mistakes)
    assert [call.status for call in bought.calls] == [500], "the fallback, not the refusal"


@pytest.mark.parametrize(
    ("kind", "reply", "flow", "rests"),
    [
        (
            "consumer_information",
            {"personal_information": {"language": "en-GB", "mobile_phone_number": _PHONE}},
            Flow.SMS_OTP,
            Status.AWAITS_OTP,
        ),
        ("deliver_otp", {}, Flow.SMS_OTP_ISSUER, Status.AWAITS_OTP),
        ("deliver_otp", "failed", Flow.SMS_OTP_ISSUER, Status.FAILED),
    ],
)
async def test_every_callback_gets_the_same_reply_until_enough_are_answered(
    shared_sandbox: Sandbox,
    caller: Mapping[str, str],
    card: str,
    tmp_path: Path,
    kind: str,
    reply: dict[str, Any] | str,
    flow: Flow,
    rests: Status,
) -> None:
    file = tmp_path / "reply.json"
    file.write_text(json.dumps(reply))
    fixed = ("--refuse", reply) if isinstance(reply, str) else ("--reply", file)
    async with answering(caller, "--kind", kind, *fixed, "--count", "2") as process:
        for _ in range(2):
            bought = buy(shared_sandbox, card, flow)
            assert await bought.awaiting() is rests, bought.error
        done = await ended(process)

    assert (done.status, done.stderr) == (0, "")
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == [kind, kind]


async def test_one_command_plays_an_authentication_with_the_usual_replies(
    shared_sandbox: Sandbox, caller: Mapping[str, str], card: str
) -> None:
    async with answering(caller, "--kind", "authenticate", "--kind", "authentication_result") as process:
        bought = buy(shared_sandbox, card, Flow.OOB_ISSUER)
        done = await ended(process, b"\n\n")

    assert await bought.done() is Status.SUCCESSFUL, bought.error
    started, result = map(json.loads, done.stdout.splitlines())
    assert (started["kind"], result["kind"]) == ("authenticate", "authentication_result")
    assert result["request"]["authenticationId"] in done.stderr


@pytest.mark.parametrize(
    ("options", "reply", "mistake"),
    [
        (("--kind", "deliver_otp", "--reply", "-"), b'{"otp":"314159"}', "--reply: otp: unknown field"),
        (("--kind", "deliver_otp", "--reply", "-"), b"314159", "--reply: the request must be one JSON object"),
        (("--kind", "deliver_otp", "--reply", "nowhere.json"), b"", "--reply: nowhere.json: No such file or directory"),
        (
            ("--kind", "deliver_otp", "--reply", "-", "--refuse", "failed"),
            b"",
            "--reply, --refuse: expected at most one",
        ),
        (
            ("--kind", "deliver_otp", "--kind", "authenticate", "--reply", "-"),
            b"{}",
            "--reply: expected one --kind, as each has a response of its own",
        ),
        (("--kind", "deliver_otp", "--name", "two words", "--refuse", "failed"), b"", "--name: expected 1 to 64"),
    ],
)
async def test_a_command_line_that_cannot_work_is_refused(
    caller: Mapping[str, str], options: tuple[str, ...], reply: bytes, mistake: str
) -> None:
    refused = await invoked(CLIENT, "answer", *options, stdin=reply, environment=caller)

    assert mistake in refused.only_line(2)
    assert "314159" not in refused.stderr


async def test_without_any_input_the_command_says_what_it_needs(caller: Mapping[str, str]) -> None:
    async with answering(caller, "--kind", "deliver_otp") as process:
        done: Ended = await ended(process, b"")

    assert "standard input is empty: pipe a line for each callback" in done.only_line(2)


async def test_a_gateway_that_refuses_the_handler_ends_the_command(
    shared_sandbox: Sandbox, caller: Mapping[str, str]
) -> None:
    stranger = shared_sandbox.pki.stranger
    as_stranger = {
        **caller,
        "D1_GATEWAY_CLIENT_CERTIFICATE_FILE": str(stranger.certificate),
        "D1_GATEWAY_CLIENT_KEY_FILE": str(stranger.key),
    }
    command = running(
        "answer", "--kind", "deliver_otp", "--refuse", "failed", program="d1-gateway-client", environment=as_stranger
    )
    async with asyncio.timeout(30), command as process:
        refused = await ended(process)

    # Before it, gRPC may report the broken stream without its status; the client then tries again.
    assert (refused.status, refused.stdout) == (1, "")
    assert refused.mistakes[-1].startswith("d1-gateway-client: PERMISSION_DENIED")


async def _screen(terminal: int, until: bytes) -> bytes:
    """Read what a terminal shows, up to a text."""
    text = b""
    while until not in text:
        text += await asyncio.to_thread(os.read, terminal, 4096)
    return text
