import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.d1.model.notification import ConsumerNotification, Notification, new_operation_id
from sandbox.gateway import GatewayProcess
from tests.e2e.command import Caller, Ended, calling, d1_gateway_client, ended, running

_TO_THE_END = ("watch", "--from-start", "--no-follow")
_SECONDS = 30.0
_NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
_SENT = (
    Notification("card_1", "op_1", _NOW, operation="3DS_FRICTIONLESS", consumer_id="consumer_1"),
    Notification("card_2", "op_2", _NOW, operation="3DS_CHALLENGE_OOB", status="FAILED"),
    ConsumerNotification("consumer_1", "op_3", _NOW, "ENROLL_AUTHN", "PENDING"),
    ConsumerNotification("consumer_2", "op_4", _NOW, "REGISTER"),
)


@pytest.fixture
async def caller(sandbox: Sandbox, gateway: GatewayProcess) -> Caller:
    assert await sandbox.notifier.send_all(_SENT) == [204] * len(_SENT)
    return calling(gateway, sandbox.pki)


def _cells(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def _operation_ids(lines: Iterable[str]) -> list[str]:
    parsed = [json.loads(line) for line in lines]
    return [(each.get("threeDSOperation") or each["consumerOperation"])["operationId"] for each in parsed]


def _only_line(command: Ended, status: int) -> str:
    assert (command.status, len(command.mistakes)) == (status, 1), command
    assert command.mistakes[0].startswith("d1-gateway-client: ")
    return command.mistakes[0]


@asynccontextmanager
async def _notified_all_the_time(sandbox: Sandbox) -> AsyncIterator[None]:
    async def notify() -> None:
        while True:
            await sandbox.notifier.send(Notification("card_9", new_operation_id(), datetime.now(UTC)))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(notify())
        yield
        task.cancel()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(_SECONDS):
        return (await process.stdout.readline()).decode()


async def test_the_log_is_printed_as_a_table_to_its_end(caller: Caller) -> None:
    command = await d1_gateway_client(*_TO_THE_END, **caller)

    assert (command.status, command.stderr) == (0, "")
    header, *rows = _cells(command.stdout)
    assert header == ["TIME", "KIND", "CARD/CONSUMER", "OPERATION", "STATUS", "OPERATION", "ID"]
    assert [row[1:] for row in rows] == [
        ["3ds", "card_1", "3DS_FRICTIONLESS", "SUCCESSFUL", "op_1"],
        ["3ds", "card_2", "3DS_CHALLENGE_OOB", "FAILED", "op_2"],
        ["consumer", "consumer_1", "ENROLL_AUTHN", "PENDING", "op_3"],
        ["consumer", "consumer_2", "REGISTER", "SUCCESSFUL", "op_4"],
    ]
    assert all(abs((datetime.now(UTC) - datetime.fromisoformat(row[0])).total_seconds()) < 120 for row in rows)


async def test_json_lines_have_the_names_of_the_contract_and_a_cursor_to_resume_after(caller: Caller) -> None:
    lines = (await d1_gateway_client(*_TO_THE_END, "--json", **caller)).stdout.splitlines()
    first, second = json.loads(lines[0]), json.loads(lines[1])
    rest = await d1_gateway_client("watch", "--after", second["cursor"], "--no-follow", "--json", **caller)

    assert first["cardId"] == "card_1"
    assert first["threeDSOperation"]["status"] == "OPERATION_STATUS_SUCCESSFUL"
    assert _operation_ids(lines) == ["op_1", "op_2", "op_3", "op_4"]
    assert rest.stdout.splitlines() == lines[2:]


@pytest.mark.parametrize(
    ("chosen", "operations"),
    [
        ("--card card_1 --card card_2", ["op_1", "op_2"]),
        ("--consumer consumer_1", ["op_1", "op_3"]),
        ("--kind consumer", ["op_3", "op_4"]),
        ("--type 3DS_FRICTIONLESS --type enroll-authn", ["op_1", "op_3"]),
        ("--type frictionless --status successful", ["op_1"]),
        ("--status successful", ["op_1", "op_4"]),
        ("--status pending --kind consumer", ["op_3"]),
        ("--operation-id op_2 --operation-id op_4", ["op_2", "op_4"]),
        ("--card card_3", []),
        ("--since 1h", ["op_1", "op_2", "op_3", "op_4"]),
    ],
)
async def test_filters_choose(chosen: str, operations: list[str], caller: Caller) -> None:
    begin = () if "--since" in chosen else ("--from-start",)
    command = await d1_gateway_client("watch", *begin, "--no-follow", "--json", *chosen.split(), **caller)

    assert (command.status, command.stderr) == (0, "")
    assert _operation_ids(command.stdout.splitlines()) == operations


async def test_the_end_is_found_in_a_log_that_grows_all_the_time(sandbox: Sandbox, caller: Caller) -> None:
    async with _notified_all_the_time(sandbox):
        command = await d1_gateway_client(*_TO_THE_END, "--json", "--card", "card_2", **caller)

    assert command.status == 0
    assert _operation_ids(command.stdout.splitlines()) == ["op_2"]


async def test_what_comes_is_printed_across_a_crash_of_the_gateway_until_ctrl_c(
    sandbox: Sandbox, gateway: GatewayProcess, caller: Caller
) -> None:
    async with running("watch", program="d1-gateway-client", **caller) as process:
        header = await _line(process)
        assert await sandbox.notifier.send(Notification("card_1", "op_5", _NOW)) == 204
        before = await _line(process)
        await gateway.restart()
        assert await sandbox.notifier.send(Notification("card_1", "op_6", _NOW)) == 204
        after = await _line(process)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_SECONDS):
            command = await ended(process)

    assert header.startswith("TIME ")
    assert (before.split()[-1], after.split()[-1]) == ("op_5", "op_6")
    assert (command.status, command.stdout) == (0, "")
    assert all("watch interrupted, resuming in" in line for line in command.mistakes)


async def test_a_subscription_resumes_after_what_was_printed(sandbox: Sandbox, caller: Caller) -> None:
    named = ("watch", "--subscription", "shell", "--json")
    first = await d1_gateway_client(*named, "--from-start", "--no-follow", **caller)
    nothing = await d1_gateway_client(*named, "--no-follow", **caller)
    async with running(*named, program="d1-gateway-client", **caller) as process:
        assert await sandbox.notifier.send(Notification("card_1", "op_5", _NOW)) == 204
        followed = await _line(process)
        busy = await d1_gateway_client(*named, "--no-follow", **caller)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_SECONDS):
            assert (await ended(process)).status == 0
    again = await d1_gateway_client(*named, "--no-follow", **caller)

    assert _operation_ids(first.stdout.splitlines()) == ["op_1", "op_2", "op_3", "op_4"]
    assert (nothing.status, nothing.stdout) == (0, "")
    assert _operation_ids([followed]) == ["op_5"]
    assert "another watcher" in _only_line(busy, 1)
    assert (again.status, again.stdout) == (0, "")


@pytest.mark.parametrize("follow", ["--follow", "--no-follow"])
async def test_a_reader_that_has_seen_enough_ends_it_quietly(follow: str, sandbox: Sandbox, caller: Caller) -> None:
    command = Path(sys.executable).with_name("d1-gateway-client")
    piped = f"{command} watch --from-start {follow} | head -2; exit ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", piped),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {name: str(value) for name, value in caller.items()},
    )
    try:
        # That nobody reads shows with the next line.
        async with asyncio.timeout(_SECONDS), _notified_all_the_time(sandbox):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()

    assert (process.returncode, stderr) == (0, b"")
    assert [row[-1] for row in _cells(stdout.decode())] == ["ID", "op_1"]


async def test_nothing_that_d1_says_steers_the_terminal(sandbox: Sandbox, caller: Caller) -> None:
    hostile = Notification("card_3", "op_5", _NOW, operation="\x1b[2J\x9b31m\r\nNEW", status="[red]\u202eX")
    assert await sandbox.notifier.send(hostile) == 204
    for form in ((), ("--json",)):
        command = await d1_gateway_client(*_TO_THE_END, "--card", "card_3", *form, **caller)
        assert command.stdout.replace("\n", "").replace("\N{REPLACEMENT CHARACTER}", "").isprintable()
        assert "NEW" in command.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--type", "frictionles"), "--type"),
        (("--status", "done"), "--status"),
        (("--kind", "consumer", "--type", "frictionless"), "--kind"),
        (("--since", "10"), "--since"),
        (("--since", "999999999d"), "--since"),
        (("--since", "1h", "--from-start"), "--from-start"),
        (("--no-follow",), "--no-follow"),
        (("--card", "\udcff"), "UTF-8"),
        ((), "address"),
        (("--address", "127.0.0.1:9", "--ca-file", "/nonexistent"), "/nonexistent"),
        (("--address", "127.0.0.1:9", "--ca-file", __file__), __file__),
        (("--address", "127.0.0.1:9", "--key-file", __file__), "key_file"),
        (("--address", "127.0.0.1:9", "--certificate-file", __file__, "--key-file", __file__), __file__),
        (("--address", "127.0.0.1:9", "--token-file", __file__), "token"),
    ],
)
async def test_what_cannot_be_used_is_one_line_that_names_it(arguments: tuple[str, ...], named: str) -> None:
    command = await d1_gateway_client("watch", *arguments)

    assert named in _only_line(command, 2)
    assert command.stdout == ""


async def test_an_error_of_the_gateway_is_one_line_with_its_reason(sandbox: Sandbox, caller: Caller) -> None:
    unknown = await d1_gateway_client("watch", "--after", "00000000-7", **caller)
    broken = await d1_gateway_client("watch", "--card", "card 1", **caller)
    stranger = sandbox.pki.stranger
    files = ("--certificate-file", stranger.certificate, "--key-file", stranger.key)
    refused = await d1_gateway_client(*_TO_THE_END, *files, **caller)

    assert "CURSOR_UNKNOWN" in _only_line(unknown, 1)
    assert "filter.card_ids[0]" in _only_line(broken, 1)
    assert "PERMISSION_DENIED" in _only_line(refused, 1)


async def test_an_unreachable_gateway_is_reported_at_once_with_the_cause() -> None:
    for follow in ("--follow", "--no-follow"):
        command = await d1_gateway_client("watch", "--from-start", follow, "--address", "127.0.0.1:9")
        assert "Connection refused" in _only_line(command, 1)
