"""Power of the t-tests: against values that others print, and by simulation."""

from __future__ import annotations

import math

import made_up
import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from analysis import paper
from analysis.claim.power import detectable_difference, power, report, seeds_needed, sensitivity, spread, spread_of_runs
from analysis.record.settings import Settings
from analysis.table.grid import make_grid
from analysis.table.resolved import resolve

TABLE5 = paper.find("table5")


@pytest.mark.parametrize(
    ("effect", "paired", "n"), [(0.5, True, 34), (0.5, False, 64), (0.8, True, 15), (0.8, False, 26)]
)
def test_sample_sizes_as_textbooks_print_them(effect: float, paired: bool, n: int) -> None:
    """Cohen's medium and large effects, alpha 0.05 two-sided, power 0.8, as G*Power gives them."""
    assert seeds_needed(effect, 1.0, paired=paired) == n


@pytest.mark.parametrize("paired", [True, False])
def test_power_by_simulation(paired: bool) -> None:
    draw, n, difference, tried = np.random.default_rng(0), 4, 0.7, 20_000
    left, right = draw.normal(difference, 0.4, (tried, n)), draw.normal(0, 0.4, (tried, n))
    test = stats.ttest_1samp(left, 0, axis=1) if paired else stats.ttest_ind(left, right, axis=1)
    found = np.mean((test.pvalue < 0.05) & (test.statistic > 0))
    assert power(n, difference, 0.4, paired=paired) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_what_is_visible_has_the_power_and_needs_so_many_seeds(n: int, paired: bool) -> None:
    least = detectable_difference(n, 0.4, paired=paired)
    assert power(n, least, 0.4, paired=paired) == pytest.approx(0.8, abs=1e-4)
    assert seeds_needed(1.001 * least, 0.4, paired=paired) == n


def test_a_difference_that_is_almost_nothing_needs_more_seeds_than_anyone_has() -> None:
    assert seeds_needed(1e-6, 1.0, paired=True) == 100_000


def test_the_spread_is_pooled_over_cells_and_over_pairs_of_rows() -> None:
    settings = Settings(pairs=("resnet56/resnet20",), seeds=4)
    grid = make_grid(resolve(TABLE5, settings), made_up.entries(TABLE5, settings))
    rows = np.array([value.measured for value in grid.values if value.kind == "row"])
    couples = [rows[i] - rows[j] for i in range(len(rows)) for j in range(i)]
    found = spread([grid, grid], "from the ledger")
    assert found is not None
    assert found.run == pytest.approx(math.sqrt(np.mean(rows.var(axis=1, ddof=1))))
    assert found.difference == pytest.approx(math.sqrt(np.mean([np.var(two, ddof=1) for two in couples])))
    assert spread([make_grid(resolve(TABLE5, settings), {})], "") is None


def test_what_is_said_of_it() -> None:
    found = spread_of_runs(0.4, "given")
    assert found.difference == pytest.approx(0.4 * math.sqrt(2))
    assert sensitivity(3, found).startswith("3 seeds see differences of 1.8 points and more (80% power")
    assert "use --seeds 2 or more" in sensitivity(1, found)
    lines = report(found, 3)
    assert lines[3].split() == ["0.3", "points", "30", "29"]
    assert lines[-1] == "3 seeds see differences of 1.8 points and more if paired, of 1.2 if not."
