"""Imports go one way: there is no ring of files and no ring of folders.

A folder stands for the modules that lie in it, without those of its subfolders. Only what lies at the top of
``gateway/`` is no room: each module there stands for itself.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("gateway", "adapters", "sandbox", "bench")


@pytest.fixture(scope="module")
def files() -> Mapping[str, Collection[str]]:
    """What each module imports."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


@pytest.fixture(scope="module")
def folders(files: Mapping[str, Collection[str]]) -> Mapping[str, Collection[str]]:
    """From which other folders the modules of each folder import."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for module, imported in files.items():
        found[folder(module)] |= {folder(each) for each in imported} - {folder(module)}
    return found


def folder(module: str) -> str:
    package = module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]
    return module if package == "gateway" else package


def ring(graph: Mapping[str, Collection[str]]) -> str:
    """A ring that there is, each importing the next; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        _, imported_first = error.args
        return " -> ".join(reversed(imported_first))
    return ""


def test_every_package_is_looked_at(folders: Mapping[str, Collection[str]]) -> None:
    assert {name.partition(".")[0] for name in folders} == set(PACKAGES)
    assert {"gateway.errors", "gateway.edge", "sandbox.d1.acs", "bench.cluster"} <= folders.keys()
    assert "adapters.http" in folders["adapters.d1.api"]


def test_no_files_import_each_other_in_a_ring(files: Mapping[str, Collection[str]]) -> None:
    assert ring(files) == ""


def test_no_folders_import_each_other_in_a_ring(folders: Mapping[str, Collection[str]]) -> None:
    assert ring(folders) == ""
