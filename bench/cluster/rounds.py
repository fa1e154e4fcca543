"""Loads sites in turns and measures their NATS servers too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.clients.load import Outcome
from bench.clients.loader import Load, Loader, load_row
from bench.cluster.stage import Site
from bench.common.results import Row

__all__ = ["SCENARIO", "load_sites"]

SCENARIO: Final = "cluster"

_MICROSECONDS: Final = 1e6
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Round:
    outcome: Outcome
    of_nats: Mapping[str, float]


async def load_sites(what: str, loader: Loader, sites: Sequence[Site], load: Load) -> list[Row]:
    """Load the edge of each site's first gateway in turns.

    Args:
        what: The kind of load, for the name of the case.
        loader: Makes the load.
        sites: The sites.
        load: The load; its rounds follow a warm-up.

    Returns:
        A row for each site, in their order. Processor time and memory are the gateways'; NATS has its own figures.

    Raises:
        RuntimeError: A request failed.
    """
    for site in sites:
        await _put(loader, site, replace(load, seconds=load.warm_up_seconds))
    rounds: list[list[_Round]] = [[] for _ in sites]
    for _ in range(load.rounds):
        for site, kept in zip(sites, rounds, strict=True):
            kept.append(await _put(loader, site, load))
    return [_row(what, load, site, kept) for site, kept in zip(sites, rounds, strict=True)]


async def _put(loader: Loader, site: Site, load: Load) -> _Round:
    cpu, stored = site.nats_cpu_seconds(), site.stored_bytes()
    outcome = await loader.put(
        site.server, load.traffic, connections=load.connections, seconds=load.seconds, rate=load.rate
    )
    of_nats = {
        "nats_cpu_us": _MICROSECONDS * (site.nats_cpu_seconds() - cpu) / outcome.accepted,
        "nats_rss_mib": site.nats_rss_mib(),
        "stored_mib_a_second": (site.stored_bytes() - stored) / outcome.seconds / _MIB,
    }
    return _Round(outcome, of_nats)


def _row(what: str, load: Load, site: Site, rounds: Sequence[_Round]) -> Row:
    row = load_row(SCENARIO, load, site.name, [each.outcome for each in rounds])
    of_nats = {name: [each.of_nats[name] for each in rounds] for name in rounds[0].of_nats}
    return replace(row, case=f"{what}, {row.case}", more={**row.more, **of_nats})
