"""Gateways that share the ports and come and go under load: the Python client is served, and nothing is lost."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from d1_gateway_client import AsyncGatewayClient
from d1_gateway_client.contracts.issuer.notification.v1 import StartPosition
from d1_gateway_client.contracts.issuer.threeds.v1 import ListThreeDsOperationsRequest
from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from sandbox.gateway import GatewayProcess
from sandbox.nats import NatsServer
from tests.clients.client_gateways import options_for
from tests.fault.faulty import until
from tests.fault.processes import Processes, during, processes
from tests.running import edge_tls, notification_path

pytestmark = pytest.mark.timeout(180)

_WATCHERS = 4
_SOME = 100
_PAUSE_SECONDS = 0.01


class Load:
    """Calls, notifications and watches while it runs, on connections that are kept and on new ones."""

    def __init__(self, pair: Processes, *, most_repeats: int = 1) -> None:
        self.rpc_count = 0
        self.acknowledged: set[str] = set()
        """The operations with a 204."""
        self.received: list[list[str]] = [[] for _ in range(_WATCHERS)]
        """The operations that each watcher received."""
        self._sandbox = pair.sandbox
        self._gateway = pair.gateways[0]
        self._most_repeats = most_repeats

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Make calls for the duration of the block, then wait until every watcher has what was acknowledged, once."""
        async with asyncio.TaskGroup() as watching:
            watches = [watching.create_task(self._watch(received)) for received in self.received]
            works = itertools.product((self._rpcs, self._notifications), (True, True, True, False))
            async with during(*(partial(work, is_kept=is_kept) for work, is_kept in works)):
                yield
            await until(lambda: all(self.acknowledged <= set(received) for received in self.received))
            for watch in watches:
                watch.cancel()
        for received in self.received:
            assert len(received) == len(set(received)), "something was delivered twice"

    async def goes_on(self) -> None:
        """Wait for some more successes of every kind."""
        rpcs, notifications = self.rpc_count + _SOME, len(self.acknowledged) + _SOME
        await until(lambda: self.rpc_count >= rpcs and len(self.acknowledged) >= notifications)

    def _client(self) -> AsyncGatewayClient:
        return AsyncGatewayClient(options_for(self._gateway.grpc, self._sandbox.pki, max_attempts=20))

    async def _rpcs(self, ending: asyncio.Event, *, is_kept: bool) -> None:
        while not ending.is_set():
            async with self._client() as client:
                has_more = True
                while has_more:
                    await client.operations.list_three_ds_operations(
                        ListThreeDsOperationsRequest(card_id="card-active")
                    )
                    self.rpc_count += 1
                    await asyncio.sleep(_PAUSE_SECONDS)
                    has_more = is_kept and not ending.is_set()

    async def _notifications(self, ending: asyncio.Event, *, is_kept: bool) -> None:
        connector = aiohttp.TCPConnector(ssl=edge_tls(self._sandbox), force_close=not is_kept)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
            while not ending.is_set():
                sent = Notification("card-1", new_operation_id(), datetime.now(UTC), details=new_details())
                await self._notify(session, sent)
                self.acknowledged.add(sent.operation_id)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _notify(self, session: aiohttp.ClientSession, sent: Notification) -> None:
        url = self._gateway.edge + notification_path("card-1")
        for repeats_left in reversed(range(self._most_repeats + 1)):
            try:
                async with session.post(url, json=sent.body()) as answer:
                    assert answer.status == 204
                    return
            except aiohttp.ClientConnectionError:
                if not repeats_left:
                    raise

    async def _watch(self, received: list[str]) -> None:
        async with self._client() as client, client.notifications.watch(position=StartPosition.EARLIEST) as watch:
            async for each in watch:
                assert each.three_ds_operation
                received.append(each.three_ds_operation.operation_id)


@pytest.fixture(scope="module")
async def pair_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    folder = tmp_path_factory.mktemp("pair")
    more = {"grpc": {"reuse_port": True}, "edge": {"reuse_port": True}}
    async with (
        await NatsServer.start(folder / "nats") as nats,
        processes(folder, 2, [nats.url], more=more, have_same_ports=True) as pair,
    ):
        yield pair


@pytest.fixture
async def pair(pair_of_module: Processes) -> Processes:
    """Two gateways on the same two ports, each with a folder and an admin port for itself."""
    await pair_of_module.heal()
    return pair_of_module


async def test_gateways_restarted_one_after_the_other_under_load_fail_nobody_who_retries(pair: Processes) -> None:
    load = Load(pair)
    statuses = []
    async with load.run():
        for number in (0, 1):
            await load.goes_on()
            # As systemd does: a new one starts once the former is gone.
            statuses.append(await pair.stop(number))
            await pair.start(number)
        await load.goes_on()

    assert statuses == [0, 0]


async def test_a_gateway_killed_under_load_fails_nobody_who_retries(pair: Processes) -> None:
    load = Load(pair, most_repeats=5)
    async with load.run():
        await load.goes_on()
        await pair.kill(1)
        await load.goes_on()


async def test_a_gateway_that_is_to_have_its_ports_for_itself_does_not_join(pair: Processes, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(grpc|edge): cannot listen on .*: Address already in use"):
        await GatewayProcess.start(replace(pair.configs[0], more={}), tmp_path)
