"""How the cost of a call or callback grows with what there is beside it: ``python -m bench.scaling [--quick]``.

What grows elsewhere is measured elsewhere: the event log in `bench.scenarios.growth`, watchers in
`bench.scenarios.fan_out`. `bench.curves` puts all of it together.
"""

from pathlib import Path
from typing import Final

from bench.common.results import Row
from bench.scaling.handlers import measure_handlers
from bench.scaling.in_flight import measure_in_flight
from bench.scaling.issuers import measure_issuers

__all__ = ["measure_scaling"]

_SCENARIO: Final = "scaling"


async def measure_scaling(folder: Path, *, quick: bool) -> list[Row]:
    """Measure calls over calls in flight and over issuers, and callbacks over handlers.

    Args:
        folder: The folder of keys, settings and logs.
        quick: Fewer numbers, in shorter rounds, as a smoke test; no floor needs it.

    Raises:
        MissingToolError: A program is not installed.
        RuntimeError: A server did not start, or a request failed.
    """
    return [
        *await measure_in_flight(_SCENARIO, folder / "in-flight", quick=quick),
        *await measure_issuers(_SCENARIO, folder / "issuers", quick=quick),
        *await measure_handlers(_SCENARIO, folder / "handlers", quick=quick),
    ]
