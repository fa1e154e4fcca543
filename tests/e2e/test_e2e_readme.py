"""The code of README.md and docs/quickstart.md: Python runs in its own processes, settings are loaded."""

import asyncio
import itertools
import json
import re
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Status
from sandbox.d1.model.contract import CardState
from sandbox.d1.model.notification import Notification, new_operation_id
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.command import GATEWAY, Ended, ended, invoked, started

_ROOT = Path(__file__).parents[2]
_NUMBERS = itertools.count(10_000)


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (_ROOT / page).read_text(), re.DOTALL)


[_FIRST_CALL] = _blocks("README.md", "python")
_WATCH, _ANSWER, _AUTHENTICATE = _blocks("docs/quickstart.md", "python")
[_CONFIGURATION] = _blocks("docs/quickstart.md", "toml")


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who tries the code with a card of their own."""

    sandbox: Sandbox
    gateway: GatewayProcess
    card_id: str

    @asynccontextmanager
    async def runs(self, code: str) -> AsyncIterator[Process]:
        pki = self.sandbox.pki
        here = {'"127.0.0.1:7443"': repr(self.gateway.grpc), '"card_3"': repr(self.card_id)}
        here |= {"d1-sandbox/keys": str(pki.server_ca.parent)}
        here |= {'"4970101234567916"': f'"49701012345{self.card_id[-5:]}"'}
        for name, value in here.items():
            assert name in code
            code = code.replace(name, value)
        async with (
            asyncio.timeout(30),
            started(sys.executable, "-W", "ignore::ResourceWarning", "-u", "-c", code) as process,
        ):
            yield process

    def registered(self) -> list[CardState]:
        return [card.state for card in self.sandbox.store.cards() if card.card_id == self.card_id]


@pytest.fixture
def reader(shared_sandbox: Sandbox, shared_gateway: GatewayProcess) -> Reader:
    return Reader(shared_sandbox, shared_gateway, f"card_{next(_NUMBERS)}")


async def test_the_first_call_registers_a_card(reader: Reader) -> None:
    async with reader.runs(_FIRST_CALL) as process:
        assert (await ended(process)) == Ended(0, "", "")
    assert reader.registered() == [CardState.ACTIVE]


async def test_the_watch_prints_what_d1_notifies(reader: Reader) -> None:
    async with reader.runs(_FIRST_CALL + _WATCH) as process:
        assert process.stdout is not None
        line = asyncio.ensure_future(process.stdout.readline())
        # It watches from when it begins, and does not say when that is.
        while not line.done():
            now = datetime.now(UTC)
            notification = Notification(reader.card_id, new_operation_id(), now, operation="3DS_FRICTIONLESS")
            assert await reader.sandbox.notifier.send(notification) == 204
            await asyncio.sleep(0.2)
    assert line.result().decode() == f"{reader.card_id} 3DS_FRICTIONLESS SUCCESSFUL\n"


async def test_the_handler_gets_a_request_to_send_an_otp(reader: Reader) -> None:
    async with reader.runs(_FIRST_CALL + _ANSWER) as process:
        assert process.stdout is not None
        while not reader.registered():  # noqa: ASYNC110 (the simulator has no event for it)
            await asyncio.sleep(0.05)
        purchase = reader.sandbox.purchases.start(Order(reader.card_id, Flow.SMS_OTP_ISSUER))
        assert await process.stdout.readline() == b"an SMS for consumer_1\n"
        assert await purchase.awaiting() is Status.AWAITS_OTP, purchase.error
        purchase.type_otp("over")


async def test_the_authentication_reports_what_its_request_lacks(reader: Reader) -> None:
    async with reader.runs(_FIRST_CALL + _AUTHENTICATE) as process:
        stderr = (await ended(process)).stderr
    assert "INVALID_ARGUMENT" in stderr
    assert "areq.message_category" in stderr


async def test_the_minimal_configuration_is_enough(shared_sandbox: Sandbox, tmp_path: Path) -> None:
    pki, named = shared_sandbox.pki, GatewayConfig.of(shared_sandbox, tmp_path)
    files = {
        "grpc.pem": pki.grpc_server.certificate,
        "grpc-key.pem": pki.grpc_server.key,
        "callers-ca.pem": pki.caller_ca,
        "policy.toml": named.policy,
        "edge.pem": pki.edge_server.certificate,
        "edge-key.pem": pki.edge_server.key,
        "d1-client-ca.pem": pki.d1_client_ca,
        "d1-client.pem": pki.gateway_client.certificate,
        "d1-client-key.pem": pki.gateway_client.key,
        "assertion.jwk": pki.assertion_key,
        "d1-encryption.jwk": pki.encryption_public_key,
        "threeds-api-key": named.threeds_api_key_file,
    }
    here = _CONFIGURATION.replace("/var/lib/d1-gateway", str(tmp_path))
    for name, file in files.items():
        assert f'"/etc/d1-gateway/{name}"' in here
        here = here.replace(f'"/etc/d1-gateway/{name}"', f'"{file}"')
    # The keys that were exchanged have their own ids.
    for kid, key in (("assertion-2026", pki.assertion_key), ("d1-2026", pki.encryption_public_key)):
        here = here.replace(f'"{kid}"', f'"{json.loads(key.read_text())["kid"]}"')
    settings = tmp_path / "d1-gateway.toml"
    settings.write_text(here)
    checked = await invoked(GATEWAY, "config", "check", "--config", settings)
    assert checked.status == 0, checked
