import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from structlog.testing import capture_logs

from gateway.idempotency.encryption import RecordCipher
from gateway.idempotency.key_check import open_cipher
from gateway.idempotency.key_file import KEY_BYTES, load, load_or_make
from gateway.settings import SettingsError
from tests.fakes import FakeKeyValueStore

_SEVERAL = 8


def holding(folder: Path, content: bytes) -> Path:
    path = folder / "key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


async def opened(store: FakeKeyValueStore, file: Path, *, forgotten: str | None = None) -> RecordCipher:
    return await open_cipher(store, file, is_default=True, forgotten_key_id=forgotten)


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


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o666, 0o610])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    load_or_make(path)
    path.chmod(mode)
    with pytest.raises(
        SettingsError, match=r"idempotency\.key_file: file accessible to others: .*/key \(.*must belong to"
    ):
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


async def test_a_storage_is_opened_with_the_key_of_its_records_alone(tmp_path: Path) -> None:
    store, file, kept = FakeKeyValueStore(), tmp_path / "key", tmp_path / "kept"
    key_id = (await opened(store, file)).key_id
    store.now += 90 * 365 * 86_400.0
    assert (await opened(store, file)).key_id == key_id
    file.rename(kept)

    with pytest.raises(SettingsError, match=f'under the key {key_id}, but {file} is missing.*_of = "{key_id}"$'):
        await opened(store, file)
    assert not file.exists(), "another key would hide that this one is missing"
    other_id = RecordCipher(load_or_make(file)).key_id
    with pytest.raises(SettingsError, match=f"under the key {key_id}, but {file} holds the key {other_id}"):
        await opened(store, file, forgotten=other_id)
    kept.rename(file)
    assert (await opened(store, file, forgotten=key_id)).key_id == key_id


@pytest.mark.parametrize("damaged", [b"", b"9cf546\xff7abbb1dda", b"9cf546d7abbb1dd\x1b"])
async def test_a_storage_whose_note_of_its_key_is_damaged_opens_once_the_settings_name_that(
    tmp_path: Path, damaged: bytes
) -> None:
    store, file = FakeKeyValueStore(), tmp_path / "key"
    await store.put("idempotency-key-id", damaged, 60.0)
    load_or_make(file)

    with pytest.raises(SettingsError, match=r'forget_records_of = "[0-9a-f]{16}"$') as refused:
        await opened(store, file)
    await opened(store, file, forgotten=str(refused.value)[-17:-1])
    await opened(store, file)


@pytest.mark.parametrize("is_missing", [True, False])
async def test_records_are_given_up_where_the_settings_name_their_key_and_never_those_of_the_next_one(
    tmp_path: Path, *, is_missing: bool
) -> None:
    store, file = FakeKeyValueStore(), tmp_path / "key"
    key_id = (await opened(store, file)).key_id
    file.unlink()
    if not is_missing:
        load_or_make(file)

    with capture_logs() as logged:
        next_id = (await opened(store, file, forgotten=key_id)).key_id

    assert next_id != key_id
    assert [(entry["event"], entry["key_id"]) for entry in logged] == [("idempotency_records_forgotten", key_id)]
    file.unlink()
    with pytest.raises(SettingsError, match=f"under the key {next_id}"):
        await opened(store, file, forgotten=key_id)


async def test_of_gateways_that_start_at_once_with_several_keys_those_with_one_of_them_start(tmp_path: Path) -> None:
    store, files = FakeKeyValueStore(), [tmp_path / str(number) for number in range(3)]
    for file in files:
        load_or_make(file)

    ends = await asyncio.gather(*(opened(store, file) for file in (*files, *files)), return_exceptions=True)

    assert [isinstance(end, RecordCipher) for end in ends].count(True) == 2
    assert [isinstance(end, SettingsError) for end in ends].count(True) == 4


async def test_a_storage_that_does_not_answer_is_asked_again_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, file = FakeKeyValueStore(), tmp_path / "key"
    monkeypatch.setattr("gateway.idempotency.key_check._PAUSE_SECONDS", 0.01)
    store.fail()
    with pytest.raises(SettingsError, match="the key of the records cannot be checked: The store cannot be used"):
        await opened(store, file)
    asyncio.get_running_loop().call_later(0.02, store.recover)

    assert (await opened(store, file)).key_id


def test_the_id_of_a_key_is_the_same_for_good() -> None:
    assert RecordCipher(bytes(32)).key_id == "9cf546d7abbb1dda"
