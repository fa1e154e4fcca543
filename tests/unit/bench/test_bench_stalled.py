"""What a stalled watcher does to the others, from windows without and beside one."""

import pytest

from bench.clients.watching import percentile_ms
from bench.common.results import figures
from bench.floors import Ceiling, read_requirements
from bench.scenarios.stalled import Window, stalled_rows

_MILLISECOND_NS = 1_000_000


def _window(*milliseconds: float, is_beside: bool = False, cpu_seconds: float = 0.0) -> Window:
    return Window(is_beside, sorted(round(_MILLISECOND_NS * each) for each in milliseconds), cpu_seconds)


@pytest.mark.parametrize(("percent", "latency"), [(50, 50.0), (95, 95.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_the_latency_that_so_many_did_not_exceed(percent: int, latency: float) -> None:
    assert percentile_ms([_MILLISECOND_NS * each for each in range(1, 101)], percent) == latency
    assert percentile_ms([_MILLISECOND_NS * 100], percent) == 100.0


def test_the_windows_of_a_kind_are_taken_together_before_the_percentiles_are() -> None:
    # The late one is the worst of its window, but one of two hundred.
    windows = [_window(90.0, *[1.0] * 49, cpu_seconds=0.05), *(_window(*[1.0] * 50) for _ in range(3))]

    without, stalled = stalled_rows([[*windows, _window(*[1.5] * 200, is_beside=True, cpu_seconds=0.02)]])

    assert (without.p99_ms, stalled.p99_ms) == ([1.0], [1.5])
    assert figures(stalled, "p99_over_that_without") == [1.5]
    assert [*without.cpu_us, *stalled.cpu_us] == pytest.approx([250.0, 100.0]), "of each delivery"


def test_a_few_late_ones_in_each_window_beside_a_stalled_one_are_seen() -> None:
    blocks = [[_window(*[2.0] * 100), _window(*[2.0] * 98, 8.0, 8.0, is_beside=True)] for _ in range(5)]

    _, stalled = stalled_rows(blocks)

    assert (stalled.p50_ms, figures(stalled, "p99_over_that_without")) == ([2.0], [4.0])


def test_each_block_tells_its_own_ratio() -> None:
    blocks = [[_window(*[2.0] * 100), _window(*[late] * 100, is_beside=True)] for late in (2.0, 6.0, 2.0)]

    assert figures(stalled_rows(blocks)[1], "ratio_in_a_block") == [1.0, 3.0, 1.0]


def test_the_ceiling_is_over_the_row_beside_a_stalled_watcher() -> None:
    (ceiling,) = (each for each in read_requirements() if each.name == "fan-out-stalled")
    assert isinstance(ceiling, Ceiling)

    verdict = ceiling.judge(stalled_rows([[_window(4.0), _window(5.0, is_beside=True)]]), quick=False)

    assert (verdict.figure, verdict.is_met) == (1.25, False)
