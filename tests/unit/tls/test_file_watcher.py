"""Files that change while something is made of them."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.settings import SettingsError
from gateway.tls.file_watcher import FileWatcher


class Copy:
    """Holds what stands in a file, as long as it is not ``bad``."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content = ""
        self.reads = 0

    def renew(self) -> None:
        self.reads += 1
        content = self.file.read_text()
        if content.startswith("bad"):
            raise SettingsError([f"{self.file} is bad"])
        self.content = content


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    file = tmp_path / "file"
    file.write_text("first")
    return Copy(file)


@pytest.fixture
def watcher(copy: Copy) -> FileWatcher:
    followed = FileWatcher()
    followed.add([copy.file], copy.renew)
    return followed


def test_a_file_is_read_when_it_is_added_and_not_again_while_it_stays(watcher: FileWatcher, copy: Copy) -> None:
    for _ in range(3):
        watcher.check()

    assert (copy.content, copy.reads) == ("first", 1)


def test_a_file_that_cannot_be_used_at_first_is_refused(copy: Copy) -> None:
    copy.file.write_text("bad")

    with pytest.raises(SettingsError):
        FileWatcher().add([copy.file], copy.renew)


def test_a_changed_file_is_read_once_it_has_stayed_as_it_is(watcher: FileWatcher, copy: Copy) -> None:
    copy.file.write_text("second!")
    watcher.check()
    assert copy.content == "first"
    copy.file.write_text("half a third")
    watcher.check()
    assert copy.content == "first"
    watcher.check()
    assert (copy.content, copy.reads) == ("half a third", 2)


def test_a_file_replaced_by_another_of_the_same_size_is_read(watcher: FileWatcher, copy: Copy) -> None:
    other = copy.file.with_name("other")
    other.write_text("FIRST")
    other.rename(copy.file)
    watcher.check()
    watcher.check()

    assert copy.content == "FIRST"


def test_a_file_changed_in_place_is_read_though_its_size_and_time_stay(watcher: FileWatcher, copy: Copy) -> None:
    status = copy.file.stat()
    copy.file.write_text("FIRST")
    os.utime(copy.file, ns=(status.st_atime_ns, status.st_mtime_ns))
    watcher.check()
    watcher.check()

    assert copy.content == "FIRST"


def test_what_a_link_leads_to_is_followed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "now").symlink_to("one")
    copy, watcher = Copy(tmp_path / "now" / "file"), FileWatcher()
    watcher.add([copy.file], copy.renew)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "now")
    watcher.check()
    watcher.check()

    assert copy.content == "two"


@pytest.mark.parametrize("spoil", [lambda file: file.write_text("bad"), Path.unlink])
def test_a_change_that_cannot_be_used_is_logged_once_and_changes_nothing(
    watcher: FileWatcher, copy: Copy, spoil: Callable[[Path], object]
) -> None:
    spoil(copy.file)
    with capture_logs() as logged:
        for _ in range(5):
            watcher.check()

    assert copy.content == "first"
    assert [(entry["log_level"], entry["files"]) for entry in logged] == [("error", [str(copy.file)])]
    assert str(copy.file) in logged[0]["mistakes"][0]


def test_a_bad_file_that_is_mended_is_read(watcher: FileWatcher, copy: Copy) -> None:
    for content in ("bad", "mended"):
        copy.file.write_text(content)
        watcher.check()
        watcher.check()

    assert copy.content == "mended"


def test_several_files_are_one_change(tmp_path: Path) -> None:
    files = [tmp_path / "certificate", tmp_path / "key"]
    for file in files:
        file.write_text("1")
    reads: list[str] = []
    watcher = FileWatcher()
    watcher.add(files, lambda: reads.append("".join(file.read_text() for file in files)))
    files[0].write_text("2 ")
    watcher.check()
    files[1].write_text("2 ")
    watcher.check()
    watcher.check()

    assert reads == ["11", "2 2 "]


async def test_it_looks_by_itself_for_as_long_as_it_runs(watcher: FileWatcher, copy: Copy) -> None:
    before = asyncio.all_tasks()
    async with watcher.running(0.01):
        copy.file.write_text("second")
        async with asyncio.timeout(30):
            # A file has no event to wait for.
            while copy.content != "second":  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    assert asyncio.all_tasks() == before
