"""Means and deviations against other implementations, and their limits."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats import Summary, difference, summarise

ACCURACIES = st.lists(st.floats(min_value=0, max_value=100), min_size=2, max_size=20)


def test_by_hand() -> None:
    assert summarise([74, 75, 76]) == Summary(3, 75.0, 1.0)
    assert summarise([70, 72]) == Summary(2, 71.0, math.sqrt(2))


@settings(deadline=None)
@given(ACCURACIES)
def test_as_others_compute_it(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-12)
    assert summary.std == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9)
    assert summary.std == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(ACCURACIES, st.floats(min_value=-1e3, max_value=1e3))
def test_a_shift_moves_the_mean_alone(values: list[float], shift: float) -> None:
    before, after = summarise(values), summarise([value + shift for value in values])
    assert after.mean == pytest.approx(before.mean + shift, abs=1e-9)
    assert after.std == pytest.approx(before.std, abs=1e-9)


def test_a_small_spread_on_a_large_mean_is_not_lost() -> None:
    assert summarise([1e9 + 1, 1e9 + 2, 1e9 + 3]) == Summary(3, 1e9 + 2, 1.0)


def test_one_value_has_no_deviation() -> None:
    assert summarise([74.5]) == Summary(1, 74.5, None)


def test_no_value_has_no_mean() -> None:
    summary = summarise([])
    assert (summary.n, summary.std) == (0, None)
    assert math.isnan(summary.mean)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not all finite"):
        summarise([70, bad])


def test_a_generator_will_do() -> None:
    assert summarise(value for value in (1, 2, 3)) == Summary(3, 2.0, 1.0)


def test_difference() -> None:
    assert difference(Summary(3, 76.0, 3.0), Summary(2, 75.0, 4.0)) == Summary(2, 1.0, 5.0)
    assert difference(Summary(3, 76.0, 3.0), Summary(1, 75.0, None)) == Summary(1, 1.0, None)


def test_difference_is_the_spread_of_one_run_minus_another() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(76, 0.3, 20_000), draw.normal(75, 0.4, 20_000)
    measured = summarise(left - right)
    computed = difference(summarise(left), summarise(right))
    assert computed.mean == pytest.approx(measured.mean)
    assert computed.std == pytest.approx(measured.std, rel=0.02)
