"""The latest results of each scenario: ``bench/results/latest.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from bench.common.results import Row

__all__ = ["LATEST", "Measured", "read", "write"]

LATEST: Final = Path(__file__).parent / "results" / "latest.json"

# Beyond a ten-thousandth of a millisecond there is only noise.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of one scenario in one run."""

    conditions: Mapping[str, str]
    """See `bench.conditions`."""
    rows: Sequence[Row]


def read(path: Path = LATEST) -> dict[str, Measured]:
    """Read the results of each scenario; empty if the file does not exist."""
    if not path.exists():
        return {}
    return {
        name: Measured(kept["conditions"], [Row(**row) for row in kept["rows"]])
        for name, kept in orjson.loads(path.read_bytes()).items()
    }


def write(found: Mapping[str, Measured], path: Path = LATEST) -> None:
    """Store the results of these scenarios, and keep those of the others."""
    everything = {**read(path), **found}
    path.parent.mkdir(exist_ok=True)
    kept = {name: _rounded(asdict(measured)) for name, measured in sorted(everything.items())}
    path.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, _DIGITS)
        case Mapping():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
    return value
