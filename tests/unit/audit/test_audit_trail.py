"""The trail on a disk: nothing is told before it is there, and whatever fails, the chain goes on."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.audit import trail as trails
from gateway.audit.folder import Place, check_folder
from gateway.audit.refusals import Refusals
from tests.unit.audit.trails import FaultyPlace, files, lines, numbers, opened, submit, until, verified, write


async def test_lines_are_on_disk_when_they_are_told_and_the_chain_goes_across_files_and_starts(tmp_path: Path) -> None:
    async with opened(tmp_path) as trail:
        for first in range(0, 1_000, 100):
            assert all(await write(trail, range(first, first + 100)))
            assert numbers(tmp_path) == [*range(first + 100)]
    async with opened(tmp_path) as trail:
        assert await write(trail, [1_000]) == [True]

    found = verified(tmp_path)

    assert (found.findings, found.notes) == ([], [])
    assert found.lines == 1_001 + len(files(tmp_path)) + 2, "each file has a beginning, each start an end"
    assert len(files(tmp_path)) > 3
    assert numbers(tmp_path) == [*range(1_001)]
    reasons = [line["reason"] for line in lines(tmp_path) if line["kind"] == "opened"]
    assert reasons == ["start", *["rotation"] * (len(reasons) - 2), "start"]
    assert {each.stat().st_mode & 0o777 for each in files(tmp_path)} == {0o600}


async def test_a_torn_end_is_set_aside_and_the_chain_goes_on_from_the_last_whole_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as trail:
        await write(trail, range(10))
    (torn,) = files(tmp_path)
    # Power failed during the last write: what there is of it is half of a line, and nothing.
    whole = torn.read_bytes().splitlines(keepends=True)
    torn.write_bytes(b"".join(whole[:-2]) + whole[-2][:40] + bytes(200))

    async with opened(tmp_path) as trail:
        await write(trail, [10])

    found = verified(tmp_path)
    assert found.findings == []
    assert found.notes == [f"before {files(tmp_path)[1]} a write was interrupted: 240 bytes are set aside"]
    assert numbers(tmp_path)[-1] == 10


async def test_lines_wait_for_a_full_disk_and_others_are_told_at_once(tmp_path: Path) -> None:
    place = FaultyPlace(tmp_path)
    async with opened(tmp_path, place=place) as trail:
        assert await write(trail, [0]) == [True]
        place.fill(trail)
        assert await write(trail, [1]) == [False]
        assert trail.failure == os.strerror(28)
        assert await write(trail, [2]) == [False]
        assert await write(trail, [3], is_kept=False) == [False]
        place.is_full = False
        await until(lambda: not trail.failure)
        assert await write(trail, [4]) == [True]

    assert verified(tmp_path).findings == []
    assert numbers(tmp_path) == [0, 1, 2, 4]
    assert trail.counts.lost == 0


async def test_lines_without_room_are_lost_and_the_next_file_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trails, "_MAX_WAITING", 5)
    place = FaultyPlace(tmp_path)
    async with opened(tmp_path, place=place) as trail:
        place.fill(trail)
        await write(trail, range(9))
        trail.counts.refused += 3
        place.is_full = False
        await until(lambda: not trail.failure)

    (begun,) = [line for line in lines(tmp_path) if line["kind"] == "opened" and line["reason"] == "recovery"]
    assert (begun["lost"], begun["refused"]) == (4, 3)
    assert trail.counts.lost == 4
    assert numbers(tmp_path) == [0, 1, 2, 3, 4]


async def test_a_trail_starts_on_a_full_disk_and_recovers(tmp_path: Path) -> None:
    place = FaultyPlace(tmp_path)
    place.is_full = True
    async with opened(tmp_path, place=place) as trail:
        assert trail.failure
        place.is_full = False
        await until(lambda: not trail.failure)
        assert await write(trail, [0]) == [True]

    assert verified(tmp_path).findings == []


async def test_nobody_waits_longer_than_two_seconds_for_a_disk_that_does_not_respond(tmp_path: Path) -> None:
    place = FaultyPlace(tmp_path)
    async with opened(tmp_path, place=place, max_file_bytes=1) as trail:
        place.responds.clear()
        began = asyncio.get_running_loop().time()
        assert await write(trail, [0]) == [False]
        assert 1.9 < asyncio.get_running_loop().time() - began < 8
        assert trail.failure == "no response within 2 s"
        place.responds.set()
        await until(lambda: not trail.failure)

    assert numbers(tmp_path) == [0], "it is there, if later than told"
    assert verified(tmp_path).findings == []


@pytest.mark.parametrize("how", ["moved", "removed", "altered", "truncated"])
async def test_nothing_is_appended_to_a_file_that_is_no_longer_the_trails(tmp_path: Path, how: str) -> None:
    with capture_logs() as logged:
        async with opened(tmp_path) as trail:
            await write(trail, [0, 1])
            (file,) = files(tmp_path)
            match how:
                case "moved":
                    file.rename(tmp_path / "audit-1-old.jsonl")
                case "removed":
                    file.unlink()
                case "altered":
                    with file.open("ab") as opened_too:
                        opened_too.write(b"more\n")
                case _:
                    os.truncate(file, file.stat().st_size - 10)
            assert await write(trail, [2]) == [True]

    assert [each["how"] for each in logged if each["event"] == "audit_file_changed"] == [
        "moved" if how in {"moved", "removed"} else "altered"
    ]
    assert 2 in numbers(tmp_path)
    found = verified(tmp_path)
    assert bool(found.findings) == (how in {"altered", "truncated"})
    if how == "moved":
        assert found.lines == 6, "a file is found by what it says, whatever its name"


async def test_processes_with_the_same_settings_have_a_trail_each_and_one_that_starts_again_continues_its_own(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as first, opened(tmp_path) as second:
        await asyncio.gather(write(first, range(100)), write(second, range(100)))
    async with opened(tmp_path) as again:
        await write(again, [100])

    opening = [line for line in lines(tmp_path) if line["kind"] == "opened"]
    assert len({line["trail"] for line in opening}) == 2
    assert opening[0]["trail"] == opening[1]["trail"]
    assert [each.name for each in files(tmp_path)] == [
        "audit-1-00000001.jsonl",
        "audit-1-00000002.jsonl",
        "audit-2-00000001.jsonl",
    ]


async def test_where_no_end_of_a_trail_is_found_a_new_one_begins_and_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "audit-1-00000007.jsonl").write_bytes(b"nothing of ours\n")

    with capture_logs() as logged:
        async with opened(tmp_path) as trail:
            await write(trail, [0])

    assert [each["log_level"] for each in logged if each["event"] == "audit_trail_damaged"] == ["error"]
    kept, begun = files(tmp_path)
    assert kept.read_bytes() == b"nothing of ours\n"
    assert begun.name == "audit-1-00000008.jsonl"


async def test_what_is_no_file_does_not_hold_up_a_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "audit-1-00000007.jsonl")

    async with asyncio.timeout(10), opened(tmp_path) as trail:
        assert await write(trail, [0]) == [True]

    assert [each.name for each in files(tmp_path) if each.is_file()] == ["audit-1-00000008.jsonl"]


async def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "audit-1.lock").symlink_to(elsewhere := tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        Place(tmp_path)
    assert not elsewhere.exists()


async def test_a_line_that_is_submitted_last_is_on_disk_when_the_trail_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path) as trail:
        submit(trail, 0)

    assert numbers(tmp_path) == [0]
    assert lines(tmp_path)[-1]["kind"] == "closed"


async def test_lines_gather_after_a_batch_of_several_until_the_trail_is_closed_and_who_is_alone_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trails, "_GATHER_SECONDS", 60.0)
    async with opened(tmp_path) as trail:
        async with asyncio.timeout(20):
            for number in range(5):
                assert await write(trail, [number]) == [True]
            assert all(await write(trail, [5, 6]))
        gathering = [submit(trail, number) for number in range(7, 1_000)]
        await asyncio.sleep(0.1)
        assert numbers(tmp_path) == [*range(7)]
        assert not any(line.on_disk.done() for line in gathering)

    assert all(line.on_disk.result() for line in gathering)
    assert numbers(tmp_path) == [*range(1_000)]
    assert lines(tmp_path)[-1]["kind"] == "closed"


async def test_a_callers_refusals_are_counted_apart_and_told_when_there_are_many() -> None:
    omitted: list[tuple[str, int]] = []
    refusals = Refusals(lambda caller, count: omitted.append((caller, count)))

    recorded = [refusals.is_recorded("") for _ in range(50)]
    assert refusals.is_recorded("dns:known")
    refusals.flush()

    assert recorded.count(True) == 20
    assert omitted == [("", 30)]


def test_a_folder_into_which_everybody_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(ValueError, match="everybody can write"):
        check_folder(tmp_path)


async def test_the_place_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert Place(tmp_path).number == 2
    place.close()

    assert Place(tmp_path).number == 1
