"""A gateway shuts down while D1 posts over persistent connections: every post gets a response."""

import asyncio
from pathlib import Path

import aiohttp

from sandbox import Sandbox
from tests.integration.edge.edge_caller import event
from tests.running import edge_tls, notification_path, running_gateway, settings_for

_CLIENTS = 20


async def _post_until_refused(sandbox: Sandbox, url: str, number: int) -> tuple[int, bool]:
    """Post repeatedly over one connection; return the number of responses, and whether the last one closed it.

    What is posted over a connection that is closed without an response raises: it may have been taken, or not.
    """
    count, bids_to_go = 0, False
    connector = aiohttp.TCPConnector(ssl=edge_tls(sandbox), limit=1)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        while True:
            try:
                async with session.post(url, json=event(operationId=f"op_{number}_{count}")) as response:
                    assert response.status == 204
                    bids_to_go = response.headers.get("Connection") == "close"
            except aiohttp.ClientConnectorError:
                return count, bids_to_go
            count += 1
            await asyncio.sleep(0.005)


async def test_no_post_is_left_without_a_response_by_a_shutdown(sandbox: Sandbox, tmp_path: Path) -> None:
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running:
        url = running.edge + notification_path("card-1")
        posting = [asyncio.create_task(_post_until_refused(sandbox, url, number)) for number in range(_CLIENTS)]
        # Twenty handshakes take a while on a busy machine.
        await asyncio.sleep(1.5)
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*posting)

    assert all(count for count, _ in ends)
    assert {bids_to_go for _, bids_to_go in ends} == {True}
