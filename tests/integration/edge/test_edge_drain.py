"""A gateway shuts down while D1 posts over persistent connections: every post gets a response."""

import asyncio
from itertools import count
from pathlib import Path

import aiohttp

from sandbox import Sandbox
from tests.integration.edge.edge_caller import event
from tests.running import edge_tls, notification_path, running_gateway, settings_for

_CLIENTS = 20


class _Poster:
    """Posts repeatedly over one connection, until no connection is made any more.

    What is posted over a connection that is closed without a response raises: it may have been taken, or not.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.has_posted = asyncio.Event()
        self.last_closes = False
        """Whether the last response closed the connection."""

    async def run(self, sandbox: Sandbox, url: str) -> None:
        connector = aiohttp.TCPConnector(ssl=edge_tls(sandbox), limit=1)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
            for number in count():
                try:
                    body = event(operationId=f"op_{self._number}_{number}")
                    async with session.post(url, json=body) as response:
                        assert response.status == 204
                        self.last_closes = response.headers.get("Connection") == "close"
                except aiohttp.ClientConnectorError:
                    return
                self.has_posted.set()
                await asyncio.sleep(0.005)


async def test_no_post_is_left_without_a_response_by_a_shutdown(sandbox: Sandbox, tmp_path: Path) -> None:
    posters = [_Poster(number) for number in range(_CLIENTS)]
    async with (
        asyncio.timeout(50),
        asyncio.TaskGroup() as posting,
        running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running,
    ):
        for poster in posters:
            posting.create_task(poster.run(sandbox, running.edge + notification_path("card-1")))
        await asyncio.gather(*(poster.has_posted.wait() for poster in posters))

    assert all(poster.last_closes for poster in posters)
