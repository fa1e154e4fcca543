"""The code of README.md and docs/quickstart.md: Python runs in its own processes, settings are loaded."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Status
from sandbox.d1.model.contract import CardState
from sandbox.d1.model.notification import Notification, new_operation_id
from sandbox.gateway import GatewayConfig, GatewayProcess

_ROOT = Path(__file__).parents[2]


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (_ROOT / page).read_text(), re.DOTALL)


[_FIRST_CALL] = _blocks("README.md", "python")
_WATCH, _ANSWER, _AUTHENTICATE = _blocks("docs/quickstart.md", "python")
[_CONFIGURATION] = _blocks("docs/quickstart.md", "toml")


@asynccontextmanager
async def _python(sandbox: Sandbox, gateway: GatewayProcess, code: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pki = sandbox.pki
    here = code.replace('"127.0.0.1:8443"', repr(gateway.grpc))
    for file in (pki.server_ca, pki.caller.key, pki.caller.certificate):
        here = here.replace(f'"{file.name}"', repr(str(file)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore::ResourceWarning", "-u", "-c", here),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_first_call_registers_a_card(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    async with _python(sandbox, gateway, _FIRST_CALL) as process:
        _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert [(card.card_id, card.state) for card in sandbox.store.cards()] == [("card_1", CardState.ACTIVE)]


async def test_the_watch_prints_what_d1_notifies(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    async with _python(sandbox, gateway, _FIRST_CALL + _WATCH) as process:
        assert process.stdout is not None
        line = asyncio.ensure_future(process.stdout.readline())
        # It watches from when it begins, and does not say when that is.
        while not line.done():
            notification = Notification("card_1", new_operation_id(), datetime.now(UTC), operation="3DS_FRICTIONLESS")
            assert await sandbox.notifier.send(notification) == 204
            await asyncio.sleep(0.2)
    assert line.result() == b"card_1 3DS_FRICTIONLESS SUCCESSFUL\n"


async def test_the_handler_gets_a_request_to_send_an_otp(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    async with _python(sandbox, gateway, _FIRST_CALL + _ANSWER) as process:
        assert process.stdout is not None
        while not sandbox.store.cards():  # noqa: ASYNC110 (the simulator has no event for it)
            await asyncio.sleep(0.05)
        purchase = sandbox.purchases.start(Order("card_1", Flow.SMS_OTP_ISSUER))
        assert await process.stdout.readline() == b"an SMS for consumer_1\n"
        assert await purchase.awaiting() is Status.AWAITS_OTP, purchase.error
        purchase.type_otp("over")


async def test_the_authentication_reports_what_its_request_lacks(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    async with _python(sandbox, gateway, _FIRST_CALL + _AUTHENTICATE) as process:
        _, said = await process.communicate()
    assert b"INVALID_ARGUMENT" in said
    assert b"areq.message_category" in said


async def test_the_minimal_configuration_is_enough(sandbox: Sandbox, tmp_path: Path) -> None:
    pki, named = sandbox.pki, GatewayConfig.of(sandbox, tmp_path)
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
    checked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "config", "check", "--config", str(settings)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await checked.communicate()
    assert checked.returncode == 0, said
