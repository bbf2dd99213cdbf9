"""Means, deviations, paired differences and corrected tests, against other implementations and by hand."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from analysis.table.stats import Estimate, Summary, average, holm, paired, summarise

ACCURACIES = st.lists(st.floats(min_value=0, max_value=100), min_size=2, max_size=20)


def test_by_hand() -> None:
    assert summarise([74, 75, 76]) == Summary(3, 75.0, 1.0)
    assert summarise([70, 72]) == Summary(2, 71.0, math.sqrt(2))


@given(ACCURACIES)
def test_as_others_compute_it(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-12)
    assert summary.std == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9)
    assert summary.std == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)


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


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values, 1))


def test_paired_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, deviation 1, error 1 / sqrt(3), t = 2 sqrt(3); with 2 degrees of freedom the
    two-sided p of t is 1 - t / sqrt(t^2 + 2)."""
    found = paired({1: 71.0, 2: 73.0, 3: 72.0}, {1: 70.0, 2: 71.0, 3: 69.0})
    assert found is not None
    assert found.summary == Summary(3, 2.0, 1.0)
    assert found.estimate.error == pytest.approx(1 / math.sqrt(3))
    t = 2 * math.sqrt(3)
    assert found.estimate.p() == pytest.approx(1 - t / math.sqrt(t * t + 2))


@given(st.lists(st.tuples(*[st.integers(0, 10_000).map(lambda number: number / 100)] * 2), min_size=2, max_size=8))
def test_paired_is_scipys_paired_t_test(values: list[tuple[float, float]]) -> None:
    left, right = map(list, zip(*values, strict=True))
    found = paired(by_seed(left), by_seed(right))
    assert found is not None
    if np.ptp(np.subtract(left, right)) < 1e-6:
        assert (found.estimate.p(), found.estimate.interval()) == (None, None)
        return
    expected = stats.ttest_rel(left, right)
    assert found.estimate.p() == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.9)
    assert found.estimate.interval(0.1) == pytest.approx((interval.low, interval.high))


def test_only_the_seeds_that_both_have_are_compared() -> None:
    found = paired({1: 70.0, 2: 71.0, 4: 99.0}, {3: 0.0, 2: 70.5, 1: 70.0})
    assert found is not None
    assert found.by_seed == ((1, 0.0), (2, 0.5))
    assert paired({1: 70.0}, {2: 71.0}) is None


def test_one_seed_has_a_difference_and_no_test() -> None:
    found = paired({1: 71.0}, {1: 70.0})
    assert found is not None
    assert (found.summary, found.estimate.p(), found.estimate.interval()) == (Summary(1, 1.0, None), None, None)


def test_the_average_of_one_is_itself_and_of_equals_is_a_pooled_one() -> None:
    one = Estimate(1.0, 0.5, 2)
    assert average([one]) == one
    two = average([one, Estimate(2.0, 0.5, 2)])
    assert (two.mean, two.error, two.freedom) == pytest.approx((1.5, 0.5 / math.sqrt(2), 4))
    assert average([one, Estimate(2.0, None, 0)]) == Estimate(1.5, None, 0)


def test_the_average_keeps_its_level() -> None:
    """Three pairs of networks of unlike spread, three seeds each, no true difference: 5 % of intervals miss zero."""
    draw = np.random.default_rng(0)
    tried = 4000
    missed = 0
    for _ in range(tried):
        samples = [paired(by_seed(list(draw.normal(0, std, 3))), by_seed([0, 0, 0])) for std in (0.2, 0.4, 0.8)]
        p = average([sample.estimate for sample in samples if sample]).p()
        missed += p is not None and p < 0.05
    assert missed / tried == pytest.approx(0.05, abs=0.015)


def test_holm_by_hand() -> None:
    """0.01 x 4; 0.02 x 3; 0.03 x 2 is 0.06 too; 0.04 x 1 may not be below 0.06. At most 1."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
