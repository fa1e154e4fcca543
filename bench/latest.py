"""The file that keeps what each scenario found when it was last measured: ``bench/results/latest.json``."""

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
    """What a run found of one scenario."""

    conditions: Mapping[str, str]
    """See `bench.conditions`."""
    rows: Sequence[Row]


def read(path: Path = LATEST) -> dict[str, Measured]:
    """Read what was found of each scenario; nothing if the file does not exist yet."""
    if not path.exists():
        return {}
    return {
        name: Measured(kept["conditions"], [Row(**row) for row in kept["rows"]])
        for name, kept in orjson.loads(path.read_bytes()).items()
    }


def write(found: Mapping[str, Measured], path: Path = LATEST) -> None:
    """Keep what was found of these scenarios, and leave the others as they are."""
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
