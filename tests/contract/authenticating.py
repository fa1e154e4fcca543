"""A gateway with the simulated 3-D Secure server, a merchant's calls and a cardholder's browser."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from d1_gateway_client.browser import CRes, MethodCompletion, parse_cres, parse_method_completion
from gateway.settings import Settings
from issuer.threeds.v1 import areq_pb2, codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox import Sandbox
from sandbox.common.faults import EVERY_OPERATION, Fault, Faults
from sandbox.common.tls import browser_context
from sandbox.threeds.contract import Delays
from sandbox.threeds.transaction import Phase
from tests.contract.areqs import NOTIFICATION_URL, VERSIONS, an_areq
from tests.integration.sandbox.sandbox_caller import ManualClock
from tests.integration.sandbox_threeds.threeds_sandbox_browser import Browser, Page
from tests.running import Running, running_gateway, settings_for

SECONDS = 10.0
"""The deadline of an undisturbed call, in seconds."""
DECOUPLED_SECONDS = 90.0
"""How long a decoupled authentication takes, by the simulator's clock."""
METHOD_URL = "https://requestor.example.org/3ds-method/done?a=1&b=2"
_SESSION_DATA = "session <of> \"the\" requestor & 'more'"
_MANY = 1000


class Arrivals:
    """Counts the simulator's calls of an operation; the first ones can fail."""

    def __init__(self, faults: Faults, operation: str = EVERY_OPERATION, *first: Fault) -> None:
        self._faults = faults
        self._operation = operation
        for fault in (*first, Fault(times=_MANY)):
            # An empty fault only counts.
            faults.add(replace(fault, operation=operation))
        self._room = self._left()

    def _left(self) -> int:
        return sum(left or 0 for fault, left in self._faults.pending() if fault.operation == self._operation)

    @property
    def count(self) -> int:
        return self._room - self._left()

    async def first(self) -> None:
        """Wait for the first call."""
        async with asyncio.timeout(SECONDS):
            # A used fault sends no event.
            while self.count == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Authenticating:
    """The steps of an authentication, each over its own connection."""

    running: Running
    clock: ManualClock
    """The simulator's clock; the gateway uses the real one."""
    browser: Browser

    @property
    def sandbox(self) -> Sandbox:
        return self.running.sandbox

    def arrivals(self, operation: str = EVERY_OPERATION, *first: Fault) -> Arrivals:
        return Arrivals(self.sandbox.faults, operation, *first)

    def phase(self, trans_id: str) -> Phase | None:
        """The phase of a transaction at the simulator; None if unknown."""
        transaction = self.sandbox.transactions.find(trans_id)
        return None if transaction is None else transaction.phase

    async def lookup(self, pan: str, versions: Iterable[str] = ()) -> threeds.LookupCardResponse:
        request = threeds.LookupCardRequest(
            acct_number=pan,
            message_versions=[VERSIONS[version] for version in versions],
            three_ds_method_notification_url=METHOD_URL,
        )
        return await self.running.authentication.LookupCard(request, timeout=SECONDS)

    async def authenticate(
        self,
        areq: areq_pb2.AReq,
        window: "codes_pb2.ChallengeWindowSize.ValueType" = codes_pb2.CHALLENGE_WINDOW_SIZE_UNSPECIFIED,
    ) -> threeds.AuthenticateResponse:
        request = threeds.AuthenticateRequest(areq=areq, challenge_window_size=window)
        return await self.running.authentication.Authenticate(request, timeout=SECONDS)

    async def result(self, trans_id: str) -> threeds.GetChallengeResultResponse:
        request = threeds.GetChallengeResultRequest(three_ds_server_trans_id=trans_id)
        return await self.running.authentication.GetChallengeResult(request, timeout=SECONDS)

    async def looked_up_areq(self, version: str, pan: str, **changes: Any) -> areq_pb2.AReq:
        """Look up a card and return a browser's AReq for it."""
        found = await self.lookup(pan, [version])
        return an_areq(version, pan, three_ds_server_trans_id=found.three_ds_server_trans_id, **changes)

    async def run_method(self, found: threeds.LookupCardResponse) -> "codes_pb2.CompletionIndicator.ValueType":
        """Run the 3DS Method in the browser; return its result."""
        if not found.HasField("three_ds_method"):
            return codes_pb2.COMPLETION_INDICATOR_UNAVAILABLE
        page = await self.browser.post(found.three_ds_method.url, {"threeDSMethodData": found.three_ds_method.data})
        assert page.status == 200
        if not page.submits_itself:
            return codes_pb2.COMPLETION_INDICATOR_NOT_COMPLETED
        assert page.form.action == METHOD_URL
        completed = parse_method_completion(page.form.fields["threeDSMethodData"])
        assert completed == MethodCompletion(found.three_ds_server_trans_id)
        return codes_pb2.COMPLETION_INDICATOR_COMPLETED

    async def begin_challenge(self, challenge: threeds.BrowserChallenge) -> Page:
        page = await self.browser.post(challenge.acs_url, {"creq": challenge.creq, "threeDSSessionData": _SESSION_DATA})
        assert page.status == 200
        return page

    @staticmethod
    def brought_back(page: Page) -> CRes:
        """Return the fields that the challenge's last page posts to the merchant."""
        assert page.submits_itself
        assert page.form.action == NOTIFICATION_URL
        assert page.form.fields["threeDSSessionData"] == _SESSION_DATA
        return parse_cres(page.form.fields["cres"])


@asynccontextmanager
async def authenticating_in(folder: Path, **changes: Any) -> AsyncIterator[Authenticating]:
    """Run a sandbox and a gateway, with some settings of ``[threeds]`` overridden."""
    clock = ManualClock()
    delays = Delays(connection_timeout_seconds=0.01, decoupled_seconds=DECOUPLED_SECONDS)
    async with Sandbox.start(folder / "keys", threeds_delays=delays, clock=clock) as sandbox:
        used = with_threeds(settings_for(sandbox, folder), **changes)
        connector = aiohttp.TCPConnector(ssl=browser_context(sandbox.pki.server_ca))
        async with (
            running_gateway(sandbox, used) as running,
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=SECONDS)) as session,
        ):
            yield Authenticating(running, clock, Browser(session, sandbox.threeds_url))


def with_threeds(used: Settings, **changes: Any) -> Settings:
    """Override settings of ``[threeds]``."""
    assert used.threeds is not None
    return used.model_copy(update={"threeds": used.threeds.model_copy(update=changes)})
