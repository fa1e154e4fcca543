"""``d1-gateway sandbox``: runs simulators and a gateway, and prints commands to paste."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from sandbox.common.pki import CALLER
from sandbox.gateway import GatewayConfig, GatewayProcess
from sandbox.sandbox import Sandbox

__all__ = ["playground"]


async def playground(console: Console) -> None:
    """Run the simulators and a gateway until cancelled."""
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(TemporaryDirectory(prefix="d1-gateway-sandbox-")))
        sandbox = await running.enter_async_context(Sandbox.start(folder / "keys"))
        gateway = await GatewayProcess.start(GatewayConfig.of(sandbox, folder), folder)
        await running.enter_async_context(gateway)
        sandbox.set_edge(gateway.edge)
        console.print(_text(sandbox, gateway, folder), markup=False, soft_wrap=True)
        await asyncio.Event().wait()


def _text(sandbox: Sandbox, gateway: GatewayProcess, folder: Path) -> str:
    pki = sandbox.pki
    curl = f"buf curl --protocol grpc --cacert {pki.server_ca} --cert {pki.caller.certificate} --key {pki.caller.key}"
    service = f"https://{gateway.grpc}/issuer"
    register = (
        '{"card_id":"card_1","consumer_id":"consumer_1","card_product_id":"light",'
        '"credentials":{"pan":"4970101234567890","expiry":{"month":12,"year":2031}}}'
    )
    notification = (
        '{"operationId":"op_1","operation":"3DS_FRICTIONLESS","status":"SUCCESSFUL",'
        '"startTime":"2026-01-31T12:00:00.000Z"}'
    )
    callback = f"{gateway.edge}/notifications/d1/v1/issuers/{sandbox.issuer_id}/cards/card_1/3ds/notifications"
    return f"""\
D1 simulator       {sandbox.d1_url}
3-D Secure server  {sandbox.threeds_url}
control API        {sandbox.control_url}
gateway, gRPC      {gateway.grpc}
gateway, callbacks {gateway.edge}
gateway, admin     {gateway.admin}/metrics
issuer id          {sandbox.issuer_id}
caller             {CALLER}, granted all calls (policy.toml)
keys, settings     {folder}

Register a card:
  {curl} -d '{register}' \\
    {service}.card.v1.CardService/RegisterCard

In another terminal, for `d1-gateway-client watch` and `d1-gateway-client call`:
  export D1_GATEWAY_CLIENT_ADDRESS={gateway.grpc} D1_GATEWAY_CLIENT_CA_FILE={pki.server_ca} \\
    D1_GATEWAY_CLIENT_CERTIFICATE_FILE={pki.caller.certificate} D1_GATEWAY_CLIENT_KEY_FILE={pki.caller.key}

Watch notifications there (leave it running):
  d1-gateway-client watch --from-start

Have D1 send a notification:
  curl -sS {sandbox.control_url}/sandbox/notifications -d '{{"cardId":"card_1","variant":"unknown_fields"}}'

Send a callback as D1 does:
  curl -sS -i --cacert {pki.server_ca} --cert {pki.d1_client.certificate} --key {pki.d1_client.key} \\
    -H 'Content-Type: application/json' -d '{notification}' \\
    {callback}

Look up a card at the 3-D Secure server:
  {curl} -d '{{"acct_number":"9000100111110103"}}' \
    {service}.threeds.v1.AuthenticationService/LookupCard

Make a purchase with the card (D1 is its ACS):
  curl -sS {sandbox.control_url}/sandbox/purchases -d '{{"cardId":"card_1","flow":"frictionless"}}'

Lose D1's next response:
  curl -sS {sandbox.control_url}/sandbox/faults -d '{{"operation":"suspendCard","drop":"after"}}'

List everything that the simulators can do:
  curl -sS {sandbox.control_url}/

Stop with Ctrl-C, which deletes {folder}."""
