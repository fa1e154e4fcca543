import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.d1.model.notification import ConsumerNotification, Notification, new_operation_id
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.command import CLIENT, calling, d1_gateway, ended, invoked, running, started

_TO_THE_END = ("watch", "--from-start", "--no-follow")
_SECONDS = 30.0
_PROGRAM = "d1-gateway-client"
_NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
_SENT = (
    Notification("card_1", "op_1", _NOW, operation="3DS_FRICTIONLESS", consumer_id="consumer_1"),
    Notification("card_2", "op_2", _NOW, operation="3DS_CHALLENGE_OOB", status="FAILED"),
    ConsumerNotification("consumer_1", "op_3", _NOW, "ENROLL_AUTHN", "PENDING"),
    ConsumerNotification("consumer_2", "op_4", _NOW, "REGISTER"),
)


@pytest.fixture(scope="module")
async def full(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, str]]:
    """A caller of a gateway with the notifications above in its event log, and no others."""
    folder = tmp_path_factory.mktemp("full")
    async with (
        Sandbox.start(folder / "keys") as sandbox,
        await GatewayProcess.start(GatewayConfig.of(sandbox, folder), folder) as gateway,
    ):
        sandbox.set_edge(gateway.edge)
        assert await sandbox.notifier.send_all(_SENT) == [204] * len(_SENT)
        yield calling(gateway, sandbox.pki)


async def _notify(sandbox: Sandbox, card_id: str, *operation_ids: str) -> None:
    for each in operation_ids:
        assert await sandbox.notifier.send(Notification(card_id, each, _NOW)) == 204


def _cells(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def _operation_ids(lines: Iterable[str]) -> list[str]:
    parsed = [json.loads(line) for line in lines]
    return [(each.get("threeDSOperation") or each["consumerOperation"])["operationId"] for each in parsed]


@asynccontextmanager
async def _notified_all_the_time(sandbox: Sandbox, card_id: str) -> AsyncIterator[None]:
    async def notify() -> None:
        while True:
            await sandbox.notifier.send(Notification(card_id, new_operation_id(), datetime.now(UTC)))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(notify())
        yield
        task.cancel()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(_SECONDS):
        return (await process.stdout.readline()).decode()


async def test_the_log_is_printed_as_a_table_to_its_end(full: Mapping[str, str]) -> None:
    command = await d1_gateway(*_TO_THE_END, program=_PROGRAM, environment=full)

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


async def test_json_lines_have_the_names_of_the_contract_and_a_cursor_to_resume_after(full: Mapping[str, str]) -> None:
    lines = (await invoked(CLIENT, *_TO_THE_END, "--json", environment=full)).stdout.splitlines()
    first, second = json.loads(lines[0]), json.loads(lines[1])
    rest = await invoked(CLIENT, "watch", "--after", second["cursor"], "--no-follow", "--json", environment=full)

    assert first["cardId"] == "card_1"
    assert first["threeDSOperation"]["status"] == "THREE_DS_OPERATION_STATUS_SUCCESSFUL"
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
        ("--recovered", []),
        ("--no-recovered --kind 3ds", ["op_1", "op_2"]),
        ("--since 1h", ["op_1", "op_2", "op_3", "op_4"]),
    ],
)
async def test_filters_choose(chosen: str, operations: list[str], full: Mapping[str, str]) -> None:
    begin = () if "--since" in chosen else ("--from-start",)
    command = await invoked(CLIENT, "watch", *begin, "--no-follow", "--json", *chosen.split(), environment=full)

    assert (command.status, command.stderr) == (0, "")
    assert _operation_ids(command.stdout.splitlines()) == operations


async def test_the_end_is_found_in_a_log_that_grows_all_the_time(
    shared_sandbox: Sandbox, caller: Mapping[str, str]
) -> None:
    await _notify(shared_sandbox, "card_grows", "op_grows")
    async with _notified_all_the_time(shared_sandbox, "card_other"):
        command = await invoked(CLIENT, *_TO_THE_END, "--json", "--card", "card_grows", environment=caller)

    assert command.status == 0
    assert _operation_ids(command.stdout.splitlines()) == ["op_grows"]


async def test_what_comes_is_printed_across_a_crash_of_the_gateway_until_ctrl_c(
    shared_sandbox: Sandbox, shared_gateway: GatewayProcess, caller: Mapping[str, str]
) -> None:
    async with running("watch", "--card", "card_crash", program=_PROGRAM, environment=caller) as process:
        header = await _line(process)
        await _notify(shared_sandbox, "card_crash", "op_before")
        before = await _line(process)
        await shared_gateway.restart()
        await _notify(shared_sandbox, "card_crash", "op_after")
        after = await _line(process)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_SECONDS):
            command = await ended(process)

    assert header.startswith("TIME ")
    assert (before.split()[-1], after.split()[-1]) == ("op_before", "op_after")
    assert (command.status, command.stdout) == (0, "")
    assert all("watch interrupted, resuming in" in line for line in command.mistakes)


async def test_a_subscription_resumes_after_what_was_printed(
    shared_sandbox: Sandbox, caller: Mapping[str, str]
) -> None:
    await _notify(shared_sandbox, "card_shell", "op_shell_1", "op_shell_2")
    named = ("watch", "--subscription", "shell", "--json", "--card", "card_shell")
    first = await invoked(CLIENT, *named, "--from-start", "--no-follow", environment=caller)
    nothing = await invoked(CLIENT, *named, "--no-follow", environment=caller)
    async with running(*named, program=_PROGRAM, environment=caller) as process:
        await _notify(shared_sandbox, "card_shell", "op_shell_3")
        followed = await _line(process)
        busy = await invoked(CLIENT, *named, "--no-follow", environment=caller)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_SECONDS):
            assert (await ended(process)).status == 0
    again = await invoked(CLIENT, *named, "--no-follow", environment=caller)

    assert _operation_ids(first.stdout.splitlines()) == ["op_shell_1", "op_shell_2"]
    assert (nothing.status, nothing.stdout) == (0, "")
    assert _operation_ids([followed]) == ["op_shell_3"]
    assert "another watcher" in busy.only_line(1)
    assert (again.status, again.stdout) == (0, "")


@pytest.mark.parametrize("follow", ["--follow", "--no-follow"])
async def test_a_reader_that_has_seen_enough_ends_it_quietly(
    follow: str, shared_sandbox: Sandbox, caller: Mapping[str, str]
) -> None:
    card_id = f"card{follow.replace('-', '_')}"
    await _notify(shared_sandbox, card_id, "op_first")
    watch = f"{Path(sys.executable).with_name(_PROGRAM)} watch --from-start {follow} --card {card_id}"
    piped = f"{watch} | head -2; exit ${{PIPESTATUS[0]}}"
    # That nobody reads shows with the next line.
    notified = _notified_all_the_time(shared_sandbox, card_id)
    async with started("bash", "-c", piped, environment=caller) as process, asyncio.timeout(_SECONDS), notified:
        command = await ended(process)

    assert (command.status, command.stderr) == (0, "")
    assert [row[-1] for row in _cells(command.stdout)] == ["ID", "op_first"]


async def test_nothing_that_d1_says_steers_the_terminal(shared_sandbox: Sandbox, caller: Mapping[str, str]) -> None:
    hostile = Notification("card_hostile", "op_5", _NOW, operation="\x1b[2J\x9b31m\r\nNEW", status="[red]\u202eX")
    assert await shared_sandbox.notifier.send(hostile) == 204
    for form in ((), ("--json",)):
        command = await invoked(CLIENT, *_TO_THE_END, "--card", "card_hostile", *form, environment=caller)
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
        (("--address", "127.0.0.1:9", "--token-file", __file__), "token"),
    ],
)
async def test_what_cannot_be_used_is_one_line_that_names_it(arguments: tuple[str, ...], named: str) -> None:
    assert named in (await invoked(CLIENT, "watch", *arguments)).only_line(2)


@pytest.mark.parametrize(
    ("mode", "fault"), [(0o600, "and its unencrypted private key"), (0o644, "mode 0644; a private file must belong to")]
)
async def test_a_key_file_that_is_none_or_that_others_can_read_is_one_line(
    tmp_path: Path, mode: int, fault: str
) -> None:
    (key := tmp_path / "key.pem").write_text("no key")
    key.chmod(mode)

    command = await invoked(CLIENT, "watch", "--address", "127.0.0.1:9", "--certificate-file", key, "--key-file", key)

    line = command.only_line(2)
    assert str(key) in line
    assert fault in line


async def test_an_error_of_the_gateway_is_one_line_with_its_reason(
    shared_sandbox: Sandbox, caller: Mapping[str, str]
) -> None:
    stranger = shared_sandbox.pki.stranger
    for arguments, reason in (
        (("--after", "00000000-7"), "CURSOR_UNKNOWN"),
        (("--card", "card 1"), "filter.card_ids[0]"),
        (("--certificate-file", stranger.certificate, "--key-file", stranger.key), "PERMISSION_DENIED"),
    ):
        command = await invoked(CLIENT, "watch", *arguments, environment=caller)
        assert (command.status, len(command.mistakes)) == (1, 1)
        assert reason in command.stderr


async def test_an_unreachable_gateway_is_reported_at_once_with_the_cause() -> None:
    for follow in ("--follow", "--no-follow"):
        command = await invoked(CLIENT, "watch", "--from-start", follow, "--address", "127.0.0.1:9")
        assert "Connection refused" in command.only_line(1)
