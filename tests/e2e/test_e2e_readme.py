"""The README's Python, as it stands there, in processes of its own."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Status
from sandbox.d1.contract import CardState
from sandbox.d1.notification import Notification, new_operation_id
from sandbox.gateway import GatewayProcess

_README = (Path(__file__).parents[2] / "README.md").read_text()
_FIRST_CALL, _WATCH, _ANSWER, _AUTHENTICATE = re.findall(r"```python\n(.*?)```", _README, re.DOTALL)


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


async def test_the_handler_is_asked_to_send_an_otp(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    async with _python(sandbox, gateway, _FIRST_CALL + _ANSWER) as process:
        assert process.stdout is not None
        while not sandbox.store.cards():  # noqa: ASYNC110 (the simulator has no event for it)
            await asyncio.sleep(0.05)
        purchase = sandbox.purchases.start(Order("card_1", Flow.SMS_OTP_ISSUER))
        assert await process.stdout.readline() == b"an SMS for consumer_1\n"
        assert await purchase.awaiting() is Status.AWAITS_OTP, purchase.error
        purchase.type_otp("over")


async def test_the_authentication_is_told_what_its_request_lacks(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    async with _python(sandbox, gateway, _FIRST_CALL + _AUTHENTICATE) as process:
        _, said = await process.communicate()
    assert b"INVALID_ARGUMENT" in said
    assert b"areq.message_category" in said
