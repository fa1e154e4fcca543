import random
import shutil
import subprocess
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from sandbox import Sandbox
from sandbox.d1.model.notification import Notification
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.d1_load import Load
from tests.e2e.watching import connect, follow
from tests.fault.attacks.scale import SCALE

_CUTS: Final = 6
_MAX_SYNCS: Final = 60
_SECTOR: Final = 512
_LAST: Final = Notification("card_last", "op_last", datetime(2026, 1, 31, tzinfo=UTC))


class _Disk:
    """The folder of a gateway's database, and what of it is on the disk for sure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.synced = folder / "synced"
        self.folder.mkdir()
        self.synced.mkdir()

    def lose_power(self, chance: random.Random) -> int:
        """Leave what was synced, and any part of what was written since; return how many sectors were lost."""
        lost = 0
        # The key of the idempotency records gets its name by a link, which the library does not follow.
        for file in [self.folder / f"d1-gateway.db{suffix}" for suffix in ("", "-wal", "-shm")]:
            kept = self.synced / file.name
            if kept.exists():
                content, differing = _torn(kept.read_bytes(), file.read_bytes(), chance)
                file.write_bytes(content)
                lost += differing
            else:
                file.unlink(missing_ok=True)
        shutil.rmtree(self.synced)
        shutil.copytree(self.folder, self.synced)
        return lost


def _torn(synced: bytes, written: bytes, chance: random.Random) -> tuple[bytes, int]:
    # Sectors reach a disk in any order, and a file may have grown without them.
    size = chance.choice([len(synced), len(written)])
    content = bytearray(synced[:size].ljust(size, b"\0"))
    lost = 0
    for start in range(0, size, _SECTOR):
        sector = written[start : start + _SECTOR][: size - start]
        if sector != content[start : start + len(sector)]:
            if chance.random() < 0.5:
                content[start : start + len(sector)] = sector
            else:
                lost += 1
    return bytes(content), lost


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that keeps what is synced."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("There is no C compiler.")
    built = tmp_path_factory.mktemp("power-cut") / "power_cut.so"
    source = Path(__file__).with_name("power_cut.c")
    options = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run([compiler, *options, "-o", built, source, "-ldl"], check=True, timeout=60)  # noqa: S603
    return built


@pytest.mark.timeout(60 + 30 * SCALE)
async def test_through_power_cuts_what_was_acknowledged_is_on_the_disk(
    shim: Path, tmp_path: Path, seed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, chance = _Disk(tmp_path), random.Random(seed)  # noqa: S311 - no secret
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("POWER_CUT_FOLDER", str(disk.folder.resolve()))
    monkeypatch.setenv("POWER_CUT_DISK", str(disk.synced))
    lost = 0
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(tmp_path / "keys"))
        config = replace(GatewayConfig.of(sandbox, tmp_path), event_log=disk.folder / "d1-gateway.db")
        gateway = await stack.enter_async_context(await GatewayProcess.start(config, tmp_path))
        sandbox.set_edge(gateway.edge)
        load = Load(sandbox.notifier, seed)
        async with load.run(cards=8, bursts=2):
            for _ in range(_CUTS * SCALE):
                # Some of them hit the start.
                monkeypatch.setenv("POWER_CUT_SYNC", str(chance.randint(1, _MAX_SYNCS)))
                with suppress(RuntimeError):
                    await gateway.restart()
                    await gateway.wait()
                lost += disk.lose_power(chance)
            monkeypatch.delenv("POWER_CUT_SYNC")
            await gateway.restart()
        assert await load.send(_LAST)
        async with connect(gateway.grpc, sandbox.pki) as channel:
            load.assert_stored(await follow(channel, _LAST.operation_id))
    assert lost > 0, "nothing was written that was not yet synced"
