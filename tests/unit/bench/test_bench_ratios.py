"""Figures of the benchmarks and their ratios."""

import pytest

from bench.common.results import Row, figures, find, format_figures, ratio, ratios

_GATEWAY = Row("intake", "64 connections", "gateway", per_second=[80.0, 50.0, 90.0], more={"lost": [0.0, 1.0, 0.0]})
_OTHER = Row("intake", "64 connections", "bare", per_second=[100.0, 50.0, 100.0])


def test_rates_are_compared_round_by_round() -> None:
    assert ratios(_GATEWAY, _OTHER) == [0.8, 1.0, 0.9]


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_rates() -> None:
    slowing = Row("s", "c", "gateway", per_second=[100.0, 40.0, 10.0])
    with_it = Row("s", "c", "bare", per_second=[200.0, 50.0, 10.0])

    assert ratio(slowing, with_it) == 0.8
    assert ratio(with_it, slowing) == 1.25


def test_rounds_that_do_not_pair_are_not_compared() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios(_GATEWAY, Row("intake", "64 connections", "bare", per_second=[100.0]))


def test_a_row_is_found_by_scenario_case_and_server() -> None:
    assert find([_GATEWAY, _OTHER], "intake", "64 connections", "bare") is _OTHER


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(LookupError, match="intake: no result of 'bare' with '16 connections'"):
        find([_GATEWAY, _OTHER], "intake", "16 connections", "bare")


def test_figures_are_fields_of_a_row_or_what_more_it_has() -> None:
    assert figures(_GATEWAY, "per_second") == [80.0, 50.0, 90.0]
    assert figures(_GATEWAY, "lost") == [0.0, 1.0, 0.0]
    assert figures(_OTHER, "lost") == ()


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([], ""),
        ([0.0], "0"),
        ([0.256], "0.26"),
        ([9.996], "10.00"),
        ([12.34], "12.3"),
        ([12345.6], "12,346"),
        ([1.0, 3.0, 2.0], "2.00 (1.00-3.00)"),
        ([900.0, 1100.0], "1,000 (900-1,100)"),
    ],
)
def test_figures_are_written_with_the_median_and_the_spread(values: list[float], written: str) -> None:
    assert format_figures(values) == written


def test_the_spread_can_be_left_out() -> None:
    assert format_figures([1.0, 3.0, 2.0], spread=False) == "2.00"
