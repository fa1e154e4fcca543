import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from gateway.idempotency.key_file import KEY_BYTES, load, load_or_make
from gateway.settings import SettingsError

_SEVERAL = 8


def holding(folder: Path, content: bytes) -> Path:
    path = folder / "key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "events.db.key"
    key = load_or_make(path)

    assert len(key) == KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_make(path) == load(path) == key
    assert [*tmp_path.iterdir()] == [path], "nothing is left beside it"
    assert load_or_make(tmp_path / "another") != key


def test_of_several_that_make_it_at_once_all_have_the_same(tmp_path: Path) -> None:
    for attempt in range(10):
        path, barrier = tmp_path / str(attempt), Barrier(_SEVERAL)

        def make(path: Path = path, barrier: Barrier = barrier) -> bytes:
            barrier.wait()
            return load_or_make(path)

        with ThreadPoolExecutor(_SEVERAL) as pool:
            keys = {made.result() for made in [pool.submit(make) for _ in range(_SEVERAL)]}
        assert keys == {load(path)}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    load_or_make(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=r"idempotency\.key_file: .*/key can be read by others: chmod 600 it"):
        load_or_make(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"0a" * 31, b"0a" * 33, b"0A" * 32, b"0g" * 32, b"0a" * 32 + b"\n\n", b" " + b"0a" * 32, bytes(32)],
)
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = holding(tmp_path, content)
    with pytest.raises(SettingsError, match="does not hold 64 lower-case hexadecimal digits") as caught:
        load_or_make(path)
    assert "0a0a" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_key_without_a_line_ending_is_read_too(tmp_path: Path) -> None:
    assert load(holding(tmp_path, b"0a" * 32)) == b"\x0a" * 32


def test_a_key_that_is_not_there_or_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "key")
    with pytest.raises(SettingsError, match="cannot be created: No such file"):
        load_or_make(tmp_path / "no-folder" / "key")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_or_make(tmp_path / "folder")
