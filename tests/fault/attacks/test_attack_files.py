"""The files of the embedded event log under attack: nothing is acknowledged that is lost, nothing damaged is served."""

import asyncio
import random
import re
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

import grpc
import orjson
import pytest
from google.protobuf.duration_pb2 import Duration

from issuer.notification.v1.messages_pb2 import START_POSITION_EARLIEST, WatchNotificationsRequest
from issuer.notification.v1.messages_pb2 import Notification as Received
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.watching import connect
from tests.fault.attacks.scale import SCALE

_BEFORE: Final = 30
_AFTER: Final = 20
_STORED: Final = 120
_RESTARTS: Final = 4
_FLIPS_AT_ONCE: Final = 15
_WATCH: Final = WatchNotificationsRequest(
    position=START_POSITION_EARLIEST, heartbeat_interval=Duration(nanos=300_000_000)
)


@dataclass(frozen=True, slots=True)
class _Attacked:
    """A gateway, and the folder of its event log, where nothing else is."""

    sandbox: Sandbox
    gateway: GatewayProcess
    database: Path

    @property
    def wal(self) -> Path:
        return self.database.with_name(f"{self.database.name}-wal")

    async def post(self, count: int) -> tuple[list[str], set[int]]:
        """Have D1 notify; return the operations that were acknowledged, and all statuses."""
        sent = [
            Notification(f"card-{number}", new_operation_id(), datetime.now(UTC), details=new_details())
            for number in range(count)
        ]
        statuses = await asyncio.gather(*(self.sandbox.notifier.send(each) for each in sent))
        acknowledged = [each.operation_id for each, status in zip(sent, statuses, strict=True) if status == 204]
        return acknowledged, set(statuses)

    async def read(self) -> tuple[list[Received], str]:
        """Watch from the beginning; return what comes, and the status of the end: "" once nothing more comes."""
        seen: list[Received] = []
        async with connect(self.gateway.grpc, self.sandbox.pki) as channel:
            watch = NotificationServiceStub(channel).WatchNotifications(_WATCH, wait_for_ready=True)
            try:
                empty = 0
                async for batch in watch:
                    seen += batch.notifications
                    empty += not batch.notifications
                    if empty == 2:  # The first message has none either.
                        break
            except grpc.aio.AioRpcError as error:
                return seen, error.code().name
            finally:
                watch.cancel()
        return seen, ""

    async def is_ready(self) -> bool:
        return await asyncio.to_thread(_is_ready, f"{self.gateway.admin}/readyz")

    async def logged(self, event: str) -> dict[str, str]:
        """Wait for a line in the log, which is written a moment later."""
        async with asyncio.timeout(20):
            while True:
                for line in self.gateway.log.read_bytes().splitlines():
                    if b'"event":"%b"' % event.encode() in line:
                        found: dict[str, str] = orjson.loads(line)
                        return found
                await asyncio.sleep(0.02)

    def put(self, content: bytes) -> None:
        """Replace the database of a gateway that does not run."""
        for each in self.database.parent.iterdir():
            if each.suffix != ".key":
                each.unlink()
        self.database.write_bytes(content)
        self.database.chmod(0o600)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  our own
            return bool(response.status == 200)
    except HTTPError:
        return False


@asynccontextmanager
async def _attacked(sandbox: Sandbox, folder: Path) -> AsyncIterator[_Attacked]:
    database = folder / "data" / "events.db"
    database.parent.mkdir()
    config = replace(GatewayConfig.of(sandbox, folder), event_log=database)
    async with await GatewayProcess.start(config, folder) as gateway:
        sandbox.set_edge(gateway.edge)
        yield _Attacked(sandbox, gateway, database)


def _delete_wal(attacked: _Attacked) -> None:
    attacked.wal.unlink()


def _truncate_wal(attacked: _Attacked) -> None:
    attacked.wal.write_bytes(b"")


def _move_behind_link(attacked: _Attacked) -> None:
    moved = attacked.database.rename(attacked.database.with_name("moved.db"))
    attacked.database.symlink_to(moved)


@pytest.mark.timeout(120)
async def test_after_a_file_is_lost_nothing_is_acknowledged_that_a_kill_loses(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as sandbox:
        for attack in (_delete_wal, _truncate_wal, _move_behind_link):
            folder = tmp_path / attack.__name__
            folder.mkdir()
            async with _attacked(sandbox, folder) as attacked:
                await _lose(attacked, attack)


async def _lose(attacked: _Attacked, attack: Callable[[_Attacked], None]) -> None:
    before, statuses = await attacked.post(_BEFORE)
    assert statuses == {204}
    attack(attacked)
    assert await attacked.post(_AFTER) == ([], {503})
    assert (await attacked.logged("event_log_file_lost"))["path"].startswith(str(attacked.database))
    assert not await attacked.is_ready()

    await attacked.gateway.restart()
    assert await attacked.is_ready()
    kept = {each.three_ds_operation.operation_id for each in (await attacked.read())[0]}
    # What was only in a file that somebody has emptied is gone.
    assert attack is _truncate_wal or set(before) <= kept
    assert (await attacked.post(1))[1] == {204}


@pytest.mark.timeout(90 + 30 * SCALE)
async def test_of_flipped_bytes_in_the_database_none_is_served(tmp_path: Path, seed: str) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    async with Sandbox.start(tmp_path / "keys") as sandbox, _attacked(sandbox, tmp_path) as attacked:
        acknowledged, _ = await attacked.post(_STORED)
        stored, _ = await attacked.read()
        assert sorted(each.three_ds_operation.operation_id for each in stored) == sorted(acknowledged)
        await attacked.gateway.stop()
        content = attacked.database.read_bytes()
        ends = [await _flip_and_read(attacked, content, stored, chance) for _ in range(_RESTARTS * SCALE)]

        assert ends.count("DATA_LOSS") > 0
        attacked.put(content)
        await attacked.gateway.restart()
        assert await attacked.read() == (stored, "")


async def _flip_and_read(attacked: _Attacked, content: bytes, stored: Sequence[Received], chance: random.Random) -> str:
    flipped = bytearray(content)
    for place in chance.sample(range(len(content)), _FLIPS_AT_ONCE):
        flipped[place] ^= chance.randrange(1, 256)
    await attacked.gateway.kill()
    attacked.put(bytes(flipped))
    try:
        await attacked.gateway.restart()
    except RuntimeError:
        line = attacked.gateway.log.read_bytes().splitlines()[-1]
        assert re.match(rb"d1-gateway: (event_log\.path: The event log|idempotency: .*cannot be checked)", line)
        return "refused"
    seen, end = await attacked.read()

    assert seen == stored[: len(seen)]
    if end:
        assert end == "DATA_LOSS"
        await attacked.logged("event_log_damaged")
        assert not await attacked.is_ready()
    else:
        assert len(seen) == len(stored)
    return end
