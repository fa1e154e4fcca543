from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gateway.workers.merging import _GAUGES
from sandbox import Sandbox
from tests.running import running_gateway, settings_for


async def test_it_is_decided_of_every_gauge_what_it_is_of_several_workers(tmp_path: Path) -> None:
    async with (
        Sandbox.start(tmp_path / "keys") as sandbox,
        running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running,
        aiohttp.ClientSession() as session,
        session.get(f"http://{running.addresses.admin}/metrics") as answer,
    ):
        families = list(text_string_to_metric_families(await answer.text()))

    gauges = {family.name for family in families if family.type == "gauge" and family.name.startswith("d1_gateway_")}
    assert gauges == {f"d1_gateway_{name}" for name in _GAUGES}
