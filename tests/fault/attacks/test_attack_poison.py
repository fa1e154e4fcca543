"""A callback request at which every handler dies takes three of them with it, and D1 gets its fallback in time."""

import asyncio
import time
from pathlib import Path

from gateway.settings import Settings
from sandbox import Sandbox
from tests.contract.calling_back import D1, until_measured
from tests.fault.attacks.doomed_handlers import doomed_handlers
from tests.running import edge_session, running_gateway, settings_for

_HANDLERS = 30
_KINDS = ("CALLBACK_KIND_DELIVER_OTP", "CALLBACK_KIND_CONSUMER_INFORMATION")
_DEADLINE_SECONDS = 1.0
_LATENESS_SECONDS = 0.5
_MAX_ROUNDS = 4


def _with_deadline(settings: Settings) -> Settings:
    policies = {
        kind: getattr(settings.callbacks, kind).model_copy(update={"deadline_seconds": _DEADLINE_SECONDS})
        for kind in ("deliver_otp", "consumer_information")
    }
    return settings.model_copy(update={"callbacks": settings.callbacks.model_copy(update=policies)})


async def test_three_of_thirty_handlers_die_of_one_callback_request_and_d1_has_its_fallback(tmp_path: Path) -> None:
    async with (
        Sandbox.start(tmp_path / "keys") as sandbox,
        running_gateway(sandbox, _with_deadline(settings_for(sandbox, tmp_path))) as running,
        edge_session(sandbox) as session,
    ):
        caller, d1 = sandbox.pki.caller, D1(running, session)
        files = (sandbox.pki.server_ca, caller.key, caller.certificate)
        async with doomed_handlers(_HANDLERS, running.addresses.grpc, files, _KINDS) as doomed:
            rounds, seconds = 0, float("inf")
            # Repeated, as a busy machine may delay some.
            while seconds > _DEADLINE_SECONDS + _LATENESS_SECONDS:
                assert rounds < _MAX_ROUNDS, seconds
                rounds += 1
                began = time.monotonic()
                answers = [*await asyncio.gather(d1.call("/otp", {"otp": {"value": "004211"}}), d1.call())]
                seconds = time.monotonic() - began
                assert answers == [(500, {"error": "no answer in time"})] * 2
                await until_measured(running, 'handlers_connected{kind="deliver_otp"}', _HANDLERS - 6 * rounds)
                assert doomed.dead == 6 * rounds, "three for each"
            await until_measured(running, 'callbacks_total{kind="deliver_otp",outcome="exhausted"}', rounds)
