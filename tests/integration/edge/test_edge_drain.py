"""A gateway shuts down while D1 posts over persistent connections: every post gets a response."""

import asyncio
from contextlib import suppress
from itertools import count
from pathlib import Path

import aiohttp

from sandbox import Sandbox
from tests.integration.edge.edge_caller import event
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
