"""A sandbox for the tests of your service: a real gateway between simulators of D1 and of a 3-D Secure server.

Needs the extra ``testing``. In ``conftest.py``::

    pytest_plugins = ["d1_gateway_client.testing"]

A test that takes `d1_gateway` can call a gateway and control D1's side.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from d1_gateway_client.options import Options
from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Status
from sandbox.d1.acs.purchase import Purchase as _Purchase
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.store import CardDetails, Credentials
from sandbox.gateway import GatewayConfig, GatewayProcess

__all__ = ["Flow", "Purchase", "SandboxGateway", "Status", "d1_gateway", "sandbox_gateway"]

_START_SECONDS = 60.0
_WAIT_SECONDS = 30.0

_T = TypeVar("_T")


class _Background:
    """An event loop in a separate thread. The sandbox runs in it, independent of the tests' loops."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="d1-sandbox", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, _T], timeout_seconds: float = _WAIT_SECONDS) -> _T:
        """Run a coroutine there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_seconds)

    def call(self, function: Callable[[], _T]) -> _T:
        """Call a function there and return its result."""

        async def called() -> _T:
            return function()

        return self.run(called())

    async def wait(self, work: Coroutine[Any, Any, _T], timeout_seconds: float = _WAIT_SECONDS) -> _T:
        """Run a coroutine there and wait for it without blocking this loop."""
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


class Purchase:
    """A purchase at a simulated merchant, whose cardholder D1 authenticates. The test plays the consumer.

    The service's own handler receives the callback requests. Methods that wait exist in two forms: to be awaited, and
    blocking with the prefix ``wait_``. Both raise `TimeoutError` after 30 s.
    """

    def __init__(self, background: _Background, purchase: _Purchase) -> None:
        self._background = background
        self._purchase = purchase

    @property
    def status(self) -> Status:
        """The status of the purchase."""
        return self._purchase.status

    @property
    def error(self) -> str | None:
        """Why the purchase failed, in D1's words; None if it has not."""
        return self._purchase.error

    @property
    def answers(self) -> list[int | None]:
        """The HTTP statuses that D1 got for its callback requests about this purchase, in order."""
        return [call.status for call in self._purchase.calls]

    async def rests(self) -> Status:
        """Wait until the consumer has to act, or the purchase is over and D1 has sent its notification."""
        return await self._background.wait(self._purchase.awaiting())

    def wait_rests(self) -> Status:
        """Block as `rests` waits."""
        return self._background.run(self._purchase.awaiting())

    async def ends(self) -> Status:
        """Wait until the purchase is over and D1 has sent its notification."""
        await self._background.wait(self._purchase.notified())
        return self.status

    def wait_ends(self) -> Status:
        """Block as `ends` waits."""
        self._background.run(self._purchase.notified())
        return self.status

    def type_otp(self, otp: str) -> bool:
        """Enter a one-time password. Returns whether it is the right one."""
        return self._background.call(lambda: self._purchase.type_otp(otp))

    def approve(self) -> None:
        """Approve with the authenticator of D1's SDK."""
        self._background.call(self._purchase.approve)

    def deny(self) -> None:
        """Deny with the authenticator of D1's SDK."""
        self._background.call(self._purchase.deny)


class SandboxGateway:
    """A running gateway, with D1's side under control."""

    def __init__(self, background: _Background, sandbox: Sandbox, process: GatewayProcess) -> None:
        self._background = background
        self._sandbox = sandbox
        self._process = process

    @property
    def options(self) -> Options:
        """The options of a client that may call every rpc."""
        pki = self._sandbox.pki
        return Options(
            address=self._process.grpc,
            ca_file=pki.server_ca,
            certificate_file=pki.caller.certificate,
            key_file=pki.caller.key,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The same options as environment variables of a service."""
        options = self.options
        return {
            "D1_GATEWAY_CLIENT_ADDRESS": options.address,
            "D1_GATEWAY_CLIENT_CA_FILE": str(options.ca_file),
            "D1_GATEWAY_CLIENT_CERTIFICATE_FILE": str(options.certificate_file),
            "D1_GATEWAY_CLIENT_KEY_FILE": str(options.key_file),
        }

    def add_card(self, card_id: str, consumer_id: str = "consumer-1", pan: str = "4970101234567890") -> None:
        """Register an active card at D1, and its consumer without personal data."""
        details = CardDetails(consumer_id, "light", InitialState.ACTIVE, credentials=Credentials(pan, "1235"))
        self._background.call(lambda: self._sandbox.store.register(card_id, details))

    def buy(self, card_id: str, flow: Flow = Flow.FRICTIONLESS, amount: int = 1999) -> Purchase:
        """Start a purchase.

        Args:
            card_id: The card.
            flow: How D1 authenticates the cardholder; decides which callback requests it sends.
            amount: Amount in minor units of the currency.
        """
        order = Order(card_id, flow, amount=amount, poll_seconds=0.1)
        return Purchase(self._background, self._background.call(lambda: self._sandbox.purchases.start(order)))

    def restart(self) -> None:
        """Kill the gateway as a power cut would, and start it again at the same address."""
        self._background.run(self._process.restart(), _START_SECONDS)


@contextmanager
def sandbox_gateway(folder: Path) -> Iterator[SandboxGateway]:
    """Run a sandbox and a gateway on loopback during the block.

    Args:
        folder: For keys, settings, the gateway's log and its notifications.

    Raises:
        RuntimeError: The gateway did not start; the text has its output.
    """
    with _Background() as background:
        running = AsyncExitStack()

        async def start() -> SandboxGateway:
            sandbox = await running.enter_async_context(Sandbox.start(folder / "keys"))
            process = await GatewayProcess.start(GatewayConfig.of(sandbox, folder), folder)
            await running.enter_async_context(process)
            sandbox.set_edge(process.edge)
            return SandboxGateway(background, sandbox, process)

        try:
            yield background.run(start(), _START_SECONDS)
        finally:
            background.run(running.aclose())


@pytest.fixture(scope="session")
def d1_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxGateway]:
    """Return a gateway between simulators. All tests share it; use different cards in each test."""
    with sandbox_gateway(tmp_path_factory.mktemp("d1-gateway")) as running:
        yield running
