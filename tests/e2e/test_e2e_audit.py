"""The audit trail of real processes: kills under load, two processes, a full disk, and the command that checks it."""

import asyncio
import json
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.contract.card_rpcs import prepare
from tests.e2e.command import GATEWAY, invoked
from tests.e2e.watching import connect
from tests.running import failure_of
from tests.unit.audit.trails import KEY, files, lines, until

_KILLS = 2
_CALLERS = 16


@asynccontextmanager
async def _serving(sandbox: Sandbox, folder: Path, trail: Path, **audit: Any) -> AsyncIterator[GatewayProcess]:
    more = {"audit": {"key_file": _prepare(folder, trail), "folder": trail, "max_file_bytes": 65_536, **audit}}
    config = replace(GatewayConfig.of(sandbox, folder), more=more)
    async with await GatewayProcess.start(config, folder, kept=True) as gateway:
        yield gateway


def _prepare(folder: Path, trail: Path) -> Path:
    folder.mkdir()
    trail.mkdir(exist_ok=True)
    key = folder / "audit.key"
    key.touch(mode=0o600)
    key.write_text(KEY.hex())
    return key


def _suspension() -> card.SuspendCardRequest:
    return card.SuspendCardRequest(card_id="card-active", reason_code="FRAUD", request_id=str(uuid4()))


async def _suspend_without_end(cards: Any, replied: set[str]) -> None:
    while True:
        request = _suspension()
        try:
            await cards.SuspendCard(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                await asyncio.sleep(0.05)
                continue
        # Accepted, or rejected by D1 as it is suspended already: a reply all the same.
        replied.add(request.request_id)


async def _verify(folder: Path, trail: Path) -> tuple[int, str]:
    ended = await invoked(
        GATEWAY,
        *("audit", "verify", "--key-file", str(folder / "audit.key"), "--anchors", str(folder / "d1-gateway.log")),
        *map(str, files(trail)),
    )
    return ended.status, ended.stdout


@pytest.mark.timeout(180)
async def test_through_kills_under_load_every_reply_has_its_line_and_the_chain_is_whole(
    sandbox: Sandbox, tmp_path: Path, seed: str
) -> None:
    prepare(sandbox.store)
    chance, folder, trail = random.Random(seed), tmp_path / "gateway", tmp_path / "audit"  # noqa: S311 (no secret)
    replied: set[str] = set()
    async with _serving(sandbox, folder, trail) as gateway, connect(gateway.grpc, sandbox.pki) as channel:
        cards: Any = CardServiceStub(channel)
        callers = [asyncio.create_task(_suspend_without_end(cards, replied)) for _ in range(_CALLERS)]
        for _ in range(_KILLS):
            await asyncio.sleep(chance.uniform(0.3, 1.0))
            await gateway.restart()
        await asyncio.sleep(0.5)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    status, said = await _verify(folder, trail)
    assert (status, "intact" in said) == (0, True), said
    results = {line["request_id"] for line in lines(trail) if line["kind"] == "result"}
    attempts = {line["request_id"] for line in lines(trail) if line["kind"] == "attempt"}
    assert len(replied) > 100
    assert replied - results == set(), "replies without a line"
    assert results - attempts == set(), "results without an attempt"
    reasons = [line["reason"] for line in lines(trail) if line["kind"] == "opened"]
    assert reasons.count("start") == _KILLS + 1
    assert "rotation" in reasons
    # And what somebody does afterwards is found.
    damaged = files(trail)[0]
    damaged.write_bytes(damaged.read_bytes().replace(b'"outcome":"COMPLETED"', b'"outcome":"REJECTED" ', 1))
    status, said = await _verify(folder, trail)
    assert (status, said.splitlines()[0].partition(", line ")[0]) == (1, str(damaged))


async def test_two_processes_with_one_folder_have_a_trail_each(sandbox: Sandbox, tmp_path: Path) -> None:
    prepare(sandbox.store)
    trail = tmp_path / "audit"
    async with (
        _serving(sandbox, tmp_path / "one", trail) as first,
        _serving(sandbox, tmp_path / "two", trail) as second,
    ):
        for gateway in (first, second):
            async with connect(gateway.grpc, sandbox.pki) as channel:
                cards: Any = CardServiceStub(channel)
                with suppress(grpc.aio.AioRpcError):
                    await cards.SuspendCard(_suspension(), timeout=5)

    assert [each.name for each in files(trail)] == ["audit-1-00000001.jsonl", "audit-2-00000001.jsonl"]
    ended = await invoked(
        GATEWAY, "audit", "verify", "--key-file", str(tmp_path / "one/audit.key"), *map(str, files(trail))
    )
    assert (ended.status, len(ended.stdout.splitlines())) == (0, 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", folder], check=False).returncode:  # noqa: S603, S607
        pytest.skip("this machine allows no mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607


@pytest.mark.parametrize("if_unavailable", ["refuse_changes", "continue"])
async def test_on_a_full_disk_changes_are_refused_or_made_as_the_settings_say(
    sandbox: Sandbox, tmp_path: Path, small_disk: Path, if_unavailable: str
) -> None:
    prepare(sandbox.store)
    ballast, trail = small_disk / "ballast", small_disk / "audit"
    async with (
        _serving(sandbox, tmp_path / "gateway", trail, if_unavailable=if_unavailable) as gateway,
        connect(gateway.grpc, sandbox.pki) as channel,
    ):
        cards: Any = CardServiceStub(channel)
        with suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(1024))
                file.flush()
        reasons = []
        for _ in range(20):
            failure = await failure_of(cards.ResumeCard(_resumption(), timeout=10))
            reasons.append((failure.reason, failure.outcome))
        expected = "AUDIT_UNAVAILABLE" if if_unavailable == "refuse_changes" else "UPSTREAM_FORBIDDEN"
        assert reasons[-1] == (expected, "NOT_SENT" if if_unavailable == "refuse_changes" else "REJECTED")
        ballast.unlink()
        await until(lambda: any(line.get("reason") == "recovery" for line in lines(trail)))
        while (await failure_of(cards.ResumeCard(_resumption(), timeout=10))).reason != "UPSTREAM_FORBIDDEN":  # noqa: ASYNC110  it is on disk a moment before the gateway knows
            await asyncio.sleep(0.1)

    status, said = await _verify(tmp_path / "gateway", trail)
    assert status == 0, said
    (begun,) = [line for line in lines(trail) if line["kind"] == "opened" and line["reason"] == "recovery"]
    assert begun["lost"] == 0
    assert bool(begun["refused"]) == (if_unavailable == "refuse_changes")


def _resumption() -> card.ResumeCardRequest:
    # The card is active, so D1 rejects it each time.
    return card.ResumeCardRequest(card_id="card-active", reason_code="CARD_FOUND")


async def test_files_that_cannot_be_checked_are_named(tmp_path: Path) -> None:
    missing = await invoked(GATEWAY, "audit", "verify", str(tmp_path / "none.jsonl"))
    assert "No such file" in missing.only_line(2)
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("no key")
    wrong = await invoked(GATEWAY, "audit", "verify", "--key-file", str(tmp_path / "key"), str(tmp_path / "key"))
    assert "does not hold 64" in wrong.only_line(2)
    foreign = await invoked(GATEWAY, "audit", "verify", str(tmp_path / "key"))
    (unnamable := tmp_path / os.fsdecode(b"\xff")).touch()
    as_json = await invoked(GATEWAY, "audit", "verify", "--json", unnamable)
    assert json.loads(as_json.stdout)[0]["findings"][0]["file"] == str(unnamable)
    os.mkfifo(tmp_path / "pipe")
    # Nobody writes to it, so opening it would wait.
    piped = await invoked(GATEWAY, "audit", "verify", str(tmp_path / "pipe"))
    assert "it is read twice, so it must be a file, and cannot be a pipe" in piped.only_line(2)
    assert (foreign.status, "first line of an audit file" in foreign.stdout) == (1, True)
