"""The contract of `gateway.ports.KeyValueStore`."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.idempotency.key_check import open_cipher
from gateway.idempotency.key_file import load_or_make
from gateway.ports import KeyValueStore
from gateway.settings import SettingsError
from tests.conformance.storage_engines import ODD_TEXTS, StorageEngine


async def gone(entries: KeyValueStore, key: str) -> float:
    """Wait until there is no value, and return when that was."""
    async with asyncio.timeout(30):
        while await entries.get(key) is not None:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.05)
    return asyncio.get_running_loop().time()


async def test_a_value_stands_until_it_is_replaced_or_deleted(entries: KeyValueStore) -> None:
    assert await entries.get("key") is None

    await entries.put("key", b"one", 60)
    await entries.put("other", b"", 60)
    assert (await entries.get("key"), await entries.get("other")) == (b"one", b"")
    await entries.put("key", b"two", 60)
    assert await entries.get("key") == b"two"
    await entries.delete("key", b"two")

    assert (await entries.get("key"), await entries.get("other")) == (None, b"")


async def test_only_the_value_that_is_meant_is_deleted(entries: KeyValueStore) -> None:
    await entries.delete("key", b"one")
    await entries.put("key", b"one", 60)
    await entries.put("other", b"one", 60)
    for different in (b"", b"one ", b"ONE", b"two"):
        await entries.delete("key", different)
    assert await entries.get("key") == b"one"

    await entries.delete("key", b"one")
    await entries.delete("key", b"one")
    assert await entries.get("key") is None
    await entries.put("key", b"two", 60)
    await entries.delete("key", b"one")

    assert (await entries.get("key"), await entries.get("other")) == (b"two", b"one")


async def test_of_a_value_deleted_and_replaced_at_the_same_time_the_new_one_stays(entries: KeyValueStore) -> None:
    for number in range(20):
        key = f"key-{number}"
        await entries.put(key, b"old", 60)
        await asyncio.gather(
            *(entries.delete(key, b"old") for _ in range(3)),
            entries.put(key, b"new", 60),
            *(entries.delete(key, b"old") for _ in range(3)),
        )
        assert await entries.get(key) == b"new"


async def test_nobody_that_puts_and_deletes_at_several_gateways_loses_what_it_put(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:

        async def hold(entries: KeyValueStore, own: bytes) -> int:
            times = 0
            for _ in range(30):
                standing = await entries.put_if_absent("key", own, 60)
                if standing is None:
                    assert await entries.get("key") == own
                    await entries.delete("key", own)
                    times += 1
                else:
                    await entries.delete("key", standing[:-1])
            return times

        holds = [hold((one, other)[each % 2].key_value_store, b"holder-%d" % each) for each in range(4)]
        assert sum(await asyncio.gather(*holds)) > 0
        assert await one.key_value_store.get("key") is None


async def test_a_value_is_put_only_where_none_stands(entries: KeyValueStore) -> None:
    assert await entries.put_if_absent("key", b"one", 60) is None
    assert await entries.put_if_absent("key", b"two", 60) == b"one"
    assert await entries.get("key") == b"one"
    await entries.put("key", b"three", 60)
    assert await entries.put_if_absent("key", b"four", 60) == b"three"
    await entries.delete("key", b"three")

    assert await entries.put_if_absent("key", b"five", 60) is None
    assert await entries.get("key") == b"five"


async def test_an_empty_value_is_one(entries: KeyValueStore) -> None:
    assert await entries.put_if_absent("key", b"", 60) is None
    assert await entries.put_if_absent("key", b"other", 60) == b""
    await entries.delete("key", b"one")
    assert await entries.get("key") == b""
    await entries.delete("key", b"")
    assert await entries.get("key") is None


async def one_puts_and_the_others_get_its_value(*stores: KeyValueStore) -> None:
    for key in ("a", "b", "c"):
        puts = (stores[each % len(stores)].put_if_absent(key, b"%d" % each, 60) for each in range(20))
        outcomes = await asyncio.gather(*puts)

        winner = outcomes.index(None)
        assert outcomes == [None if each == winner else b"%d" % winner for each in range(20)]
        assert await stores[0].get(key) == b"%d" % winner


async def test_of_many_that_put_at_the_same_time_one_succeeds(entries: KeyValueStore) -> None:
    await one_puts_and_the_others_get_its_value(entries)


async def test_of_many_at_several_gateways_one_succeeds(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        await one_puts_and_the_others_get_its_value(one.key_value_store, other.key_value_store)


async def test_what_one_gateway_has_put_another_one_gets_at_once(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        for number in range(20):
            await one.key_value_store.put("key", b"%d" % number, 60)
            assert await other.key_value_store.get("key") == b"%d" % number
        await one.key_value_store.delete("key", b"19")
        assert await other.key_value_store.get("key") is None


_WITHOUT_WAKING_SECONDS = 0.8
"""A waiter looks for its value once a second even if nothing wakes it."""


async def seconds_until_woken(
    entries: KeyValueStore, put: Callable[[str, bytes, float], Awaitable[object]], key: str
) -> float:
    """Return how long several that wait do so after a value was put: the shortest time, as the machine may be busy."""
    clock, seconds = asyncio.get_running_loop().time, list[float]()
    while not seconds or (min(seconds) > _WITHOUT_WAKING_SECONDS and len(seconds) < 10):
        name = f"{key} {len(seconds)}"
        waits = [asyncio.create_task(entries.wait(name, 60)) for _ in range(3)]
        await asyncio.sleep(0.1)
        await put(name, b"value", 60)
        began = clock()
        assert await asyncio.gather(*waits) == [b"value"] * 3
        seconds.append(clock() - began)
    return min(seconds)


async def test_a_value_that_is_there_is_not_waited_for_and_one_that_never_comes_no_longer_than_asked(
    entries: KeyValueStore,
) -> None:
    await entries.put("key", b"", 60)

    assert await entries.wait("key", 60) == b""
    assert await entries.wait("absent", 0) is None
    began = asyncio.get_running_loop().time()
    assert await entries.wait("absent", 0.2) is None
    assert asyncio.get_running_loop().time() >= began + 0.2


async def test_a_waiter_gets_a_value_as_soon_as_it_is_put(entries: KeyValueStore) -> None:
    for number, put in enumerate((entries.put, entries.put_if_absent)):
        key = f"key-{number}"
        other, left = asyncio.create_task(entries.wait(f"{key}-", 60)), asyncio.create_task(entries.wait(key, 60))
        assert await seconds_until_woken(entries, put, key) < _WITHOUT_WAKING_SECONDS
        left.cancel()
        assert await seconds_until_woken(entries, put, f"{key}+") < _WITHOUT_WAKING_SECONDS
        assert not other.done()
        other.cancel()
        await asyncio.gather(other, left, return_exceptions=True)


async def test_a_value_that_a_peer_puts_ends_the_wait(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        seconds = await seconds_until_woken(one.key_value_store, other.key_value_store.put, "a key")
        assert seconds < _WITHOUT_WAKING_SECONDS


async def test_a_value_is_gone_when_its_time_is_over_not_before_and_another_may_follow(entries: KeyValueStore) -> None:
    began = asyncio.get_running_loop().time()
    await entries.put("put", b"one", 1.5)
    assert await entries.put_if_absent("put if absent", b"one", 1.5) is None
    await entries.put("longer", b"one", 60)

    # With some ms for what the engine rounds.
    assert await gone(entries, "put") >= began + 1.49
    assert await gone(entries, "put if absent") >= began + 1.49

    assert await entries.put_if_absent("put", b"two", 60) is None
    assert await entries.put_if_absent("put if absent", b"two", 60) is None
    assert await entries.get("longer") == b"one"


async def test_a_value_that_replaces_another_has_a_time_of_its_own(entries: KeyValueStore) -> None:
    await entries.put("longer", b"one", 1)
    await entries.put("longer", b"two", 60)
    await entries.put("shorter", b"one", 60)
    await entries.put("shorter", b"two", 1)
    await entries.put("neither", b"one", 1)

    await gone(entries, "shorter")
    await gone(entries, "neither")

    assert await entries.get("longer") == b"two"


@pytest.mark.parametrize("size", [1, 65_536, 500_000])
async def test_values_may_be_large_and_hold_any_bytes(entries: KeyValueStore, size: int) -> None:
    value = (bytes(range(256)) * (size // 256 + 1))[:size]

    await entries.put("put", value, 60)
    assert await entries.put_if_absent("put if absent", value, 60) is None

    assert await entries.get("put") == value
    assert await entries.put_if_absent("put", b"other", 60) == value


async def test_keys_may_be_any_texts_and_are_never_confused(entries: KeyValueStore) -> None:
    for number, key in enumerate(ODD_TEXTS):
        assert await entries.put_if_absent(key, b"%d" % number, 60) is None

    assert [await entries.get(key) for key in ODD_TEXTS] == [b"%d" % number for number in range(len(ODD_TEXTS))]
    await entries.delete(ODD_TEXTS[0], b"0")
    assert [await entries.get(key) for key in ODD_TEXTS[:2]] == [None, b"1"]


async def test_the_keys_below_a_prefix_are_listed_in_order_and_in_pages(entries: KeyValueStore) -> None:
    assert await entries.keys("a") == []
    below = ["a.-", "a.B", "a.B.x", "a.B-x", "a.b", "a.b_.c.d", f"a.{'x' * 64}"]
    others = ["a", "ab.c", "b.a.c", "a.", "a..b", "a.b c", "a.*", "a.>", "a/b", "A.b", f"a.{'x' * 65}", "a.é", "=a.b"]
    for key in [*reversed(below), *others]:
        assert await entries.put_if_absent(key, key.encode(), 60) is None
    assert [await entries.get(key) for key in others] == [key.encode() for key in others]

    assert await entries.keys("a") == sorted(below)
    assert await entries.keys("a.B") == ["a.B.x"]
    assert await entries.keys("a.b_.c") == ["a.b_.c.d"]
    assert await entries.keys("a.b_.c.d") == []
    pages, after = [], ""
    while page := await entries.keys("a", after=after, limit=3):
        pages.append(page)
        after = page[-1]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [key for page in pages for key in page] == sorted(below)
    assert await entries.keys("a", after="a.b", limit=1) == ["a.b_.c.d"]
    assert await entries.keys("a", after="b") == []


async def test_keys_that_are_deleted_or_expired_are_not_listed(entries: KeyValueStore) -> None:
    await entries.put("a.deleted", b"", 60)
    await entries.delete("a.deleted", b"")
    await entries.put("a.expired", b"", 1)
    await entries.put("a.stays", b"", 60)
    assert await entries.keys("a") == ["a.expired", "a.stays"]

    async with asyncio.timeout(30):
        while await entries.keys("a") != ["a.stays"]:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.05)


async def test_a_long_list_of_keys_is_complete_although_keys_are_removed_meanwhile(entries: KeyValueStore) -> None:
    stay = [f"a.stay-{number:05}" for number in range(12_000)]
    leave = [f"a.leave-{number:05}" for number in range(100)]
    for some in (stay[:4000], stay[4000:8000], stay[8000:], leave):
        await asyncio.gather(*(entries.put(key, b"", 60) for key in some))

    listing = asyncio.create_task(entries.keys("a"))
    await asyncio.gather(*(entries.delete(key, b"") for key in leave))
    listed = await listing

    assert list(listed) == sorted(listed)
    assert set(stay) <= set(listed) <= {*stay, *leave}


async def test_values_are_there_after_the_store_was_opened_again(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened() as storage:
        await storage.key_value_store.put("key", b"value", 60)

    async with storage_engine.opened() as storage:
        assert await storage.key_value_store.get("key") == b"value"


async def test_a_storage_that_is_opened_again_knows_the_key_of_its_records(
    storage_engine: StorageEngine, tmp_path: Path
) -> None:
    one, other = tmp_path / "one.key", tmp_path / "other.key"
    for file in (one, other):
        load_or_make(file)

    async def key_id(file: Path, *, forgotten: str | None = None) -> str:
        async with storage_engine.opened() as storage:
            store = storage.key_value_store
            return (await open_cipher(store, file, is_default=False, forgotten_key_id=forgotten)).key_id

    first = await key_id(one)
    assert await key_id(one) == first
    with pytest.raises(SettingsError, match=f"under the key {first}, but"):
        await key_id(other)
    second = await key_id(other, forgotten=first)
    assert await key_id(other) == second
    with pytest.raises(SettingsError, match=f"under the key {second}, but"):
        await key_id(one, forgotten=first)
