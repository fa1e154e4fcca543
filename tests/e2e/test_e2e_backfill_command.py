"""``d1-gateway-client backfill``: what it recovers and prints, and how it resumes."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import pytest

from d1_gateway_client.cli.backfill_state import State
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import InitialState, Operation
from sandbox.d1.model.notification import Notification
from sandbox.d1.model.store import CardDetails, Credentials
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.command import CLIENT, Ended, calling, ended, invoked, running, started

_PROGRAM = "d1-gateway-client"
_SECONDS = 30.0
_CALLS_PER_SECOND = 20.0
_LIST = Operation.LIST_THREE_DS_OPERATIONS


@pytest.fixture(scope="module")
async def gateway(shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    config = replace(
        GatewayConfig.of(shared_sandbox, folder), more={"backfill": {"calls_per_second": _CALLS_PER_SECOND}}
    )
    async with await GatewayProcess.start(config, folder) as started:
        shared_sandbox.set_edge(started.edge)
        yield started


@pytest.fixture
def caller(shared_sandbox: Sandbox, gateway: GatewayProcess) -> Mapping[str, str]:
    shared_sandbox.faults.clear()
    return calling(gateway, shared_sandbox.pki)


def _lost(sandbox: Sandbox, tag: str, count: int) -> list[str]:
    """Make cards with one operation each that D1 did not notify; return their ids."""
    cards = [f"{tag}_{number}" for number in range(count)]
    for number, card_id in enumerate(cards):
        credentials = Credentials(f"497010{crc32(card_id.encode()):010}", "1235")
        details = CardDetails("consumer_1", "light", InitialState.ACTIVE, credentials=credentials)
        sandbox.store.register(card_id, details)
        happened = datetime.now(UTC) - timedelta(minutes=1, seconds=count - number)
        sandbox.history.add(Notification(card_id, f"op_{card_id}", happened))
    return cards


def _listed(folder: Path, cards: Iterable[str]) -> Path:
    file = folder / "cards.txt"
    file.write_text("# cards to look at\n\n" + "\n".join(cards))
    return file


async def _backfilled(file: Path | str, caller: Mapping[str, str], *more: str | Path, stdin: bytes = b"") -> Ended:
    arguments = ("backfill", "--cards", file, "--since", "2h", *more)
    return await invoked(CLIENT, *arguments, stdin=stdin, environment=caller)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_SECONDS):
        while not condition():  # noqa: ASYNC110 (a file sends no event)
            await asyncio.sleep(0.02)


def _done(state: Path) -> list[str]:
    """Return the cards that a state file knows."""
    lines = state.read_text().splitlines() if state.exists() else []
    return [line.partition(" ")[0] for line in lines[1:]]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_what_is_lost_is_recovered_and_watchers_see_that_it_was(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    cards = _lost(shared_sandbox, "plain", 3)
    file = _listed(tmp_path, [cards[0], f"{cards[1]}  # a comment", cards[0], f"\t{cards[2]}\r"])

    first = await _backfilled(file, caller)
    again = await _backfilled("-", caller, stdin=file.read_bytes())

    assert (first.status, first.stdout) == (0, "")
    assert first.mistakes == ["d1-gateway-client: 3 of 3 cards done, 3 notifications recovered"]
    assert again.mistakes == ["d1-gateway-client: 3 of 3 cards done, 0 notifications recovered"]
    assert _files(tmp_path) == [file], "a finished backfill leaves no state"
    watch = ("watch", "--from-start", "--no-follow", *(f"--card={card_id}" for card_id in cards))
    for option, count in ((), 3), (("--recovered",), 3), (("--no-recovered",), 0):
        table = await invoked(CLIENT, *watch, *option, environment=caller)
        rows = [line.split() for line in table.stdout.splitlines()[1:]]
        assert [row[-2:] for row in rows] == [[f"op_{card_id}", "recovered"] for card_id in cards][:count]


async def test_cards_that_failed_are_printed_as_the_input_of_the_next_run(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    cards = _lost(shared_sandbox, "failing", 2)
    file = _listed(tmp_path, [cards[0], "nobody_1", cards[1]])

    failed = await _backfilled(file, caller)
    (line,) = failed.stdout.splitlines()
    _lost(shared_sandbox, "nobody", 2)
    again = await _backfilled("-", caller, stdin=failed.stdout.encode())

    assert failed.status == 3
    assert line.startswith("nobody_1  # UPSTREAM_NOT_FOUND: ")
    assert "correlation id" in line
    assert failed.mistakes[-1].endswith("2 of 3 cards done, 2 notifications recovered, 1 failed")
    assert (again.status, again.stdout) == (0, "")
    assert _files(tmp_path) == [file]


async def test_json_has_an_object_for_each_card_and_each_pause(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    (card_id,) = _lost(shared_sandbox, "json", 1)
    shared_sandbox.faults.add(Fault(_LIST, status=429, headers={"Retry-After": "1"}))

    command = await _backfilled(_listed(tmp_path, [card_id, "nobody"]), caller, "--json")

    pause, done, failed = map(json.loads, command.stdout.splitlines())
    assert pause["reason"] == "ERROR_REASON_UPSTREAM_RATE_LIMITED"
    assert done == {"cardId": card_id, "operationCount": 1, "recoveredCount": 1}
    assert failed["error"]["detail"]["reason"] == "ERROR_REASON_UPSTREAM_NOT_FOUND"
    assert command.status == 3
    assert "paused for 1 s: UPSTREAM_RATE_LIMITED" in command.mistakes[0]


async def test_after_ctrl_c_the_same_command_resumes_since_the_same_time(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    cards = _lost(shared_sandbox, "ctrl_c", 30)
    file = _listed(tmp_path, cards)
    state = tmp_path / "state"
    arguments = ("backfill", "--cards", file, "--since", "2h", "--state", state)
    async with running(*arguments, program=_PROGRAM, environment=caller) as process:
        await _until(lambda: len(_done(state)) > 2)
        busy = await _backfilled(file, caller, "--state", state)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_SECONDS):
            interrupted = await ended(process)
    done = _done(state)
    with state.open("a") as torn:
        torn.write("ctrl_")
    other = await invoked(CLIENT, *arguments[:3], "--since", "3h", "--state", state, environment=caller)
    resumed = await _backfilled(file, caller, "--state", state, "--json")

    assert "is in use by another backfill: wait for its end, or name another one" in busy.only_line(2)
    assert (interrupted.status, interrupted.stdout) == (130, "")
    assert interrupted.mistakes[-2:] == [
        f"d1-gateway-client: {len(done)} of 30 cards done, {len(done)} notifications recovered; not finished",
        "d1-gateway-client: interrupted",
    ]
    assert "is the state of another backfill" in other.only_line(2)
    assert cards[: len(done)] == done
    assert [json.loads(line)["cardId"] for line in resumed.stdout.splitlines()] == cards[len(done) :]
    assert f"resuming: {len(done)} of 30 cards are done, since 20" in resumed.mistakes[0]
    # What was recovered of the card that was being read at Ctrl-C, nobody was told.
    recovered = re.search(r": 30 of 30 cards done, ([0-9]+) notifications recovered$", resumed.mistakes[-1])
    assert recovered is not None
    assert int(recovered[1]) in {29, 30}
    assert (resumed.status, state.exists()) == (0, False)


async def test_a_gateway_that_is_killed_is_waited_for_and_each_card_is_told_once(
    shared_sandbox: Sandbox, gateway: GatewayProcess, caller: Mapping[str, str], tmp_path: Path
) -> None:
    cards = _lost(shared_sandbox, "killed", 30)
    file = _listed(tmp_path, cards)
    state = Path(f"{file}.state")
    arguments = ("backfill", "--cards", file, "--since", "2h", "--json")
    async with running(*arguments, program=_PROGRAM, environment=caller) as process:
        await _until(lambda: len(_done(state)) > 2)
        await gateway.restart()
        async with asyncio.timeout(_SECONDS):
            command = await ended(process)

    assert command.status == 0, command
    assert [json.loads(line)["cardId"] for line in command.stdout.splitlines()] == cards
    assert any("backfill interrupted, resuming in" in line for line in command.mistakes)
    # Its notification may have been appended just before the kill, and is then not counted.
    assert "30 of 30 cards done" in command.mistakes[-1]


async def test_a_state_file_that_cannot_grow_ends_it_with_one_line_and_is_resumed(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    cards = _lost(shared_sandbox, f"full_{'x' * 38}", 25)
    file = _listed(tmp_path, cards)
    command = f"{Path(sys.executable).with_name(_PROGRAM)} backfill --cards {file} --since 2h"
    async with started("bash", "-c", f"ulimit -f 1; exec {command}", environment=caller) as process:
        async with asyncio.timeout(_SECONDS):
            stopped = await ended(process)
    resumed = await _backfilled(file, caller)

    assert (stopped.status, stopped.stdout) == (1, "")
    assert stopped.mistakes[0] == "d1-gateway-client: the state file: File too large"
    assert stopped.mistakes[1].endswith("not finished")
    assert resumed.status == 0
    assert "of 25 cards are done, since" in resumed.mistakes[0]


async def _at_a_terminal(file: Path, caller: Mapping[str, str], *more: str) -> Ended:
    """Run a backfill whose standard error is a terminal."""
    near, far = os.openpty()
    shown = bytearray()

    def drain() -> None:
        with suppress(OSError):  # A terminal reports its closed far end this way.
            while more := os.read(near, 4096):
                shown.extend(more)

    arguments: tuple[str | Path, ...] = ("backfill", "--cards", file, "--since", "2h", *more)
    wide = {**caller, "COLUMNS": "200", "TERM": "xterm"}
    async with running(*arguments, program=_PROGRAM, stderr=far, environment=wide) as process:
        os.close(far)
        await asyncio.to_thread(drain)
        command = await ended(process)
    os.close(near)
    return replace(command, stderr=shown.decode())


async def test_at_a_terminal_a_bar_shows_rate_time_left_and_the_present_pause(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    cards = _lost(shared_sandbox, "bar", 3)
    shared_sandbox.faults.add(Fault(_LIST, status=503, headers={"Retry-After": "1"}))

    command = await _at_a_terminal(_listed(tmp_path, [*cards, "nobody"]), caller)

    assert "0/4 cards, 0.0/s, ? left, 0 recovered, 0 failed, paused for 1 s: UPSTREAM_UNAVAILABLE" in command.stderr
    assert "4/4 cards, " in command.stderr
    assert "3 of 4 cards done, 3 notifications recovered, 1 failed" in command.stderr
    assert (command.status, command.stdout.partition(" ")[0]) == (3, "nobody")


async def test_at_a_terminal_other_lines_are_above_the_bar(caller: Mapping[str, str], tmp_path: Path) -> None:
    command = await _at_a_terminal(_listed(tmp_path, ["card_1"]), caller, "--address", "127.0.0.1:9")

    assert command.stderr.count("d1-gateway-client: ") == 5
    assert "failedd1-gateway-client" not in command.stderr
    assert command.status == 1


async def test_an_empty_list_is_done_at_once(caller: Mapping[str, str], tmp_path: Path) -> None:
    command = await _backfilled(_listed(tmp_path, []), caller)

    assert (command.status, command.stdout) == (0, "")
    assert command.mistakes == ["d1-gateway-client: 0 of 0 cards done, 0 notifications recovered"]


async def test_lines_that_are_no_card_ids_are_named_before_anything_is_sent(tmp_path: Path) -> None:
    file = _listed(tmp_path, ["card_1", "4970 1012 3456 7890", "x" * 49, "card_ö", *(["card 1"] * 30)])

    command = await _backfilled(file, {"D1_GATEWAY_CLIENT_ADDRESS": "127.0.0.1:9"})

    assert (command.status, command.stdout, len(command.mistakes)) == (2, "", 21)
    assert [line.split(": ")[3] for line in command.mistakes[:3]] == ["line 4", "line 5", "line 6"]
    assert command.mistakes[-1].endswith("13 more lines")
    assert "4970" not in command.stderr
    assert _files(tmp_path) == [file]


async def test_what_is_refused_at_the_start_leaves_no_state(
    shared_sandbox: Sandbox, caller: Mapping[str, str], tmp_path: Path
) -> None:
    file, stranger = _listed(tmp_path, ["card_1"]), shared_sandbox.pki.stranger
    denied = await _backfilled(file, caller, "--certificate-file", stranger.certificate, "--key-file", stranger.key)
    unreachable = await _backfilled(file, caller, "--address", "127.0.0.1:9")
    unknown = await _backfilled(file, caller, "--issuer", "ISSUER9999")

    assert "PERMISSION_DENIED" in denied.only_line(1)
    assert (unreachable.status, "Connection refused" in unreachable.mistakes[-1]) == (1, True)
    assert "ISSUER_UNKNOWN" in unknown.only_line(1)
    assert _files(tmp_path) == [file]


async def test_a_state_of_other_cards_stays_whatever_becomes_of_the_run(tmp_path: Path) -> None:
    file, state = _listed(tmp_path, ["card_1"]), tmp_path / "state"
    with State.open(state, "2h", datetime.now(UTC), "") as begun:
        begun.add("card_2", 1)

    command = await _backfilled(file, {"D1_GATEWAY_CLIENT_ADDRESS": "127.0.0.1:9"}, "--state", state)

    assert (command.status, _done(state)) == (1, ["card_2"])


async def test_a_device_is_no_state_file_and_stays(tmp_path: Path) -> None:
    # By a link, so that it is the link that a fault would remove.
    state = tmp_path / "state"
    state.symlink_to("/dev/null")

    command = await _backfilled("/dev/null", {}, "--state", state)

    assert command.only_line(2).endswith("state is not a regular file: name another one with --state")
    assert state.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--since", "10"), "--since"),
        (("--cards", "/nonexistent"), "/nonexistent: No such file"),
        (("--cards", "/dev/null", "--state", "/nonexistent/state"), "/nonexistent/state: No such file"),
        (("--cards", "/dev/null", "--state", __file__), "is not the state of a backfill"),
        (("--issuer", "\udcff"), "UTF-8"),
    ],
)
async def test_what_cannot_be_used_is_one_line_that_names_it(arguments: tuple[str, ...], named: str) -> None:
    whole = dict(zip(("--since", "--cards"), ("2h", "/dev/null"), strict=True))
    whole |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    words = [word for pair in whole.items() for word in pair]
    if "--state" not in whole:
        words += ["--state", "/nonexistent/state"]

    assert named in (await invoked(CLIENT, "backfill", *words)).only_line(2)
