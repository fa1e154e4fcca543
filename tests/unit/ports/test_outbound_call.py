import asyncio

from gateway.ports import Call


async def test_without_a_deadline_there_is_no_end() -> None:
    assert Call("ISSUER0001", "an-id").remaining_seconds() is None


async def test_what_remains_until_the_deadline_is_told_in_seconds() -> None:
    now = asyncio.get_running_loop().time()

    remaining = Call("ISSUER0001", "an-id", now + 100).remaining_seconds()

    assert remaining is not None
    assert 50 < remaining <= 100


async def test_after_the_deadline_nothing_remains() -> None:
    now = asyncio.get_running_loop().time()

    assert Call("ISSUER0001", "an-id", now - 100).remaining_seconds() == 0.0
