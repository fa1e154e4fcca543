from collections.abc import AsyncIterator

import aiohttp
import pytest

from sandbox import Sandbox
from sandbox.common.tls import client_context
from tests.integration.sandbox.sandbox_caller import START, Caller, ManualClock
from tests.integration.sandbox.sandbox_edge import Edge, EdgeServer


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("pki"), clock=clock) as running:
        yield running


@pytest.fixture(scope="module")
async def session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=client_context(sandbox.pki.gateway_client, sandbox.pki.server_ca))
    async with aiohttp.ClientSession(connector=connector) as opened:
        yield opened


@pytest.fixture(scope="module")
async def edge_server(sandbox: Sandbox) -> AsyncIterator[EdgeServer]:
    async with EdgeServer().serve(sandbox) as serving:
        sandbox.set_edge(serving.url)
        yield serving


@pytest.fixture
def stranger(sandbox: Sandbox, session: aiohttp.ClientSession, clock: ManualClock) -> Caller:
    """A client with the right certificate, but without an access token."""
    clock.now = START
    return Caller(sandbox, session, clock)


@pytest.fixture
async def caller(stranger: Caller) -> Caller:
    """A client with an access token."""
    await stranger.sign_in()
    return stranger


@pytest.fixture
def edge(edge_server: EdgeServer, stranger: Caller) -> Edge:
    """The edge as far as the caller's card and consumer are concerned."""
    return edge_server.edges[stranger.name]
