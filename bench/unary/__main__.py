"""``python -m bench.unary [--quick]``: measures unary calls alone, and authentications too in a full run."""

import sys
from pathlib import Path

from bench.common.report import run_alone
from bench.common.results import Row
from bench.unary import MissingToolError, measure_authenticate, measure_unary

__all__: list[str] = []


async def _measure(folder: Path, *, quick: bool) -> list[Row]:
    rows = await measure_unary(folder, quick=quick)
    return rows if quick else rows + await measure_authenticate(folder, quick=False)


if __name__ == "__main__":
    try:
        run_alone(_measure)
    except MissingToolError as error:
        sys.exit(str(error))
