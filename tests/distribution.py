"""Deals tests to the workers of pytest-xdist so that the long ones begin first, and together.

Its scheduler cuts the list of tests into equal parts, one for each worker, and takes from slow workers later. In the
order of names, the modules with processes are in few parts, and some begin when all else has ended.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from types import MappingProxyType
from typing import Final

import pytest

__all__ = ["dealt"]

_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {"upgrade": 15.0, "fault": 5.0, "release": 3.0, "e2e": 1.0, "interop": 1.0, "clients": 0.5, "integration": 0.3}
)
"""About how long a test of a folder takes, where that is long."""


def dealt(items: Sequence[pytest.Item], workers: int) -> Iterator[pytest.Item]:
    """Yield the tests of all parts: in each, modules of long tests, as many as in the others, then short tests."""
    modules = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
    parts: list[list[list[pytest.Item]]] = [[] for _ in range(workers)]
    by_length = sorted(modules, key=lambda module: (_seconds(module[:1]), len(module)), reverse=True)
    for module in by_length:
        if _seconds(module):
            min(parts, key=lambda part: sum(map(_seconds, part))).append(module)
    short = iter([item for module in modules if not _seconds(module) for item in module])
    left = len(items)
    for index, part in enumerate(parts):
        size = left // (workers - index)
        long = [item for module in part for item in module]
        filled = [*long, *islice(short, max(0, size - len(long)))]
        left -= len(filled)
        yield from filled
    yield from short


def _seconds(module: Sequence[pytest.Item]) -> float:
    folder = module[0].path.relative_to(module[0].config.rootpath / "tests").parts[0]
    return len(module) * _SECONDS.get(folder, 0.0)
