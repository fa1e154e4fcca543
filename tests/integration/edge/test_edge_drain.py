"""A gateway shuts down while D1 posts over persistent connections: every post gets a response."""

import asyncio
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path

import aiohttp

from sandbox import Sandbox
from tests.integration.edge.edge_caller import EdgeCaller, end_of, event
from tests.running import edge_tls, notification_path, running_gateway, settings_for


async def _post_until_closed(sandbox: Sandbox, url: str, client: int, posted: asyncio.Event) -> bool:
    """Post over one connection until none is made any more; return whether the last response closed it.

    What is posted over a connection that is closed without a response raises: it may have been taken, or not.
    """
    closes = False
    connector = aiohttp.TCPConnector(ssl=edge_tls(sandbox), limit=1)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        with suppress(aiohttp.ClientConnectorError):
            for number in count():
                async with session.post(url, json=event(operationId=f"op_{client}_{number}")) as response:
                    assert response.status == 204
                    closes = response.headers.get("Connection") == "close"
                posted.set()
                await asyncio.sleep(0.005)
    return closes


async def test_no_post_is_left_without_a_response_by_a_shutdown(sandbox: Sandbox, tmp_path: Path) -> None:
    clients = [asyncio.Event() for _ in range(20)]
    async with (
        asyncio.timeout(50),
        asyncio.TaskGroup() as posting,
        running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running,
    ):
        url = running.edge + notification_path("card-1")
        posts = [
            posting.create_task(_post_until_closed(sandbox, url, number, posted))
            for number, posted in enumerate(clients)
        ]
        await asyncio.gather(*(posted.wait() for posted in clients))

    assert all(post.result() for post in posts)


async def test_an_idle_connection_that_a_shutdown_finds_still_gets_the_response_to_a_request(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as ending:
        gateway = running_gateway(sandbox, settings_for(sandbox, tmp_path, drain_grace_seconds=10))
        caller = await EdgeCaller.of(await gateway.__aenter__(), session)
        (reader, writer), (idle, _) = [await stack.enter_async_context(caller.connection()) for _ in range(2)]
        ending.create_task(gateway.__aexit__(None, None, None))
        # Longer than a round trip to any network.
        await asyncio.sleep(0.3)
        writer.write(caller.raw_event())
        response = await caller.read(reader)
        assert (response.status, response.headers["connection"]) == (204, "close")
        assert await end_of(reader) == b""
        assert await end_of(idle) == b""
