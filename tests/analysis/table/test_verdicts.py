"""Verdicts: the test against scipy's own, its error rate by simulation, and what is not tested."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from analysis.table.published import look_up
from analysis.table.stats import summarise
from analysis.table.value import Value
from analysis.table.verdicts import (
    ABOVE,
    ALPHA,
    BELOW,
    EPOCH_UNKNOWN,
    NOT_COMPARABLE,
    NOT_RUN,
    ONE_SEED,
    WITHIN,
    WORDS,
    Verdict,
    tally,
    verdict,
)
from trainables.recipes import Pair

PAIR = Pair("resnet56", "resnet20")


def value_of(numbers: list[float], paper: float | None, **changes: object) -> Value:
    found = summarise(numbers)
    value = Value("main", "row", "kd", "KD", PAIR, "%", asked=3, n=found.n, std=found.std, paper=paper)
    made = replace(value, mean=found.mean if numbers else None, measured=tuple(numbers), runs=tuple(map(str, numbers)))
    return replace(made, **changes)  # type: ignore[arg-type]


accuracies = st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)


@given(st.lists(accuracies, min_size=2, max_size=6).filter(lambda found: len(set(found)) > 1), accuracies)
def test_it_is_scipys_t_test_where_the_papers_number_is_exactly_known(numbers: list[float], paper: float) -> None:
    found = verdict(value_of(numbers, paper, paper_runs=10**15))
    expected = stats.ttest_1samp(numbers, paper)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    low, high = expected.confidence_interval(1 - ALPHA)
    assert found.noise == pytest.approx((high - low) / 2, rel=1e-6)


def test_three_runs_of_the_paper_against_the_equation_by_hand() -> None:
    found = verdict(value_of([75.0, 75.2, 75.7], 74.0))
    t = 1.3 / (np.std([75.0, 75.2, 75.7], ddof=1) * math.sqrt(1 / 3 + 1 / 3))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 2))
    assert found.difference == pytest.approx(1.3)
    assert found.word == (ABOVE if found.p < ALPHA else WITHIN)


def test_five_runs_of_the_paper_against_the_equation_by_hand() -> None:
    found = verdict(value_of([75.0, 75.2, 75.7], 74.0, paper_runs=5))
    t = 1.3 / (np.std([75.0, 75.2, 75.7], ddof=1) * math.sqrt(1 / 3 + 1 / 5))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 2))
    assert verdict(value_of([75.0], 74.0, paper_runs=5)).noise == pytest.approx(1.96 * 0.6 * math.sqrt(6 / 5), rel=1e-4)


def test_where_the_papers_epoch_is_not_known_the_shown_one_is_compared_and_that_is_said() -> None:
    assert verdict(value_of([75.0, 75.2, 75.7], 75.3, paper_epoch="unknown")).why == EPOCH_UNKNOWN
    assert verdict(value_of([75.0], 75.3, paper_epoch="unknown")).why == f"inside the band, {EPOCH_UNKNOWN}"
    assert verdict(value_of([75.0, 75.2, 75.7], 75.3, paper_epoch="best")).why == ""


@pytest.mark.parametrize("n", [2, 3, 5])
def test_five_per_cent_of_cells_that_are_alike_are_called_different(n: int) -> None:
    rng = np.random.default_rng(n)
    times = 4000
    measured, printed = rng.normal(75, 0.3, (times, n)), rng.normal(75, 0.3, (times, 3)).mean(1)
    words = [verdict(value_of(list(m), p)).word for m, p in zip(measured, printed, strict=True)]
    wrong = sum(word != WITHIN for word in words)
    assert abs(wrong / times - ALPHA) < 4 * math.sqrt(ALPHA * (1 - ALPHA) / times)
    assert words.count(ABOVE) == pytest.approx(wrong / 2, abs=4 * math.sqrt(wrong) / 2)


@given(st.lists(accuracies, min_size=2, max_size=5), accuracies)
def test_a_word_is_the_sign_of_a_difference_beyond_the_noise(numbers: list[float], paper: float) -> None:
    value = value_of(numbers, paper)
    found = verdict(value)
    assert found.word in WORDS
    assert found.p is not None
    assert found.noise is not None
    assert found.difference is not None
    assert 0 <= found.p <= 1
    if abs(abs(found.difference) - found.noise) > 1e-6 and value.std:
        assert (found.word == WITHIN) == (abs(found.difference) < found.noise)
    if found.word != WITHIN:
        assert found.word == (ABOVE if found.difference > 0 else BELOW)
    mirrored = verdict(value_of([100 - number for number in numbers], 100 - paper))
    opposite = {ABOVE: BELOW, BELOW: ABOVE, WITHIN: WITHIN}
    if abs(abs(found.difference) - found.noise) > 1e-6:
        assert mirrored.word == opposite[found.word]


@pytest.mark.parametrize(("paper", "word"), [(75.0, WITHIN), (75.004, WITHIN), (74.99, ABOVE), (75.01, BELOW)])
def test_seeds_that_do_not_differ(paper: float, word: str) -> None:
    found = verdict(value_of([75.0, 75.0, 75.0], paper))
    assert (found.word, found.noise, found.why) == (word, 0, "the seeds do not differ")


@pytest.mark.parametrize(
    ("paper", "why"), [(75.0, "inside the band"), (73.0, "above the band"), (77.0, "below the band")]
)
def test_one_seed_is_not_tested(paper: float, why: str) -> None:
    found = verdict(value_of([75.0], paper))
    assert (found.word, found.p, found.why) == (ONE_SEED, None, why)
    assert found.noise == pytest.approx(1.96 * 0.6 * math.sqrt(4 / 3), rel=1e-4)
    assert round(found.noise or 0, 2) == 1.36


def test_a_teacher_is_compared_with_one_network() -> None:
    teacher = look_up("table1", "main", "teacher", PAIR)
    assert teacher is not None
    found = verdict(value_of([75.0], 75.0, kind="teacher", paper_runs=teacher.runs))
    assert found.noise == pytest.approx(stats.norm.ppf(0.975) * 0.6 * math.sqrt(2))


def test_what_was_not_run_or_is_not_like_the_papers() -> None:
    assert verdict(value_of([], 75.0)) == Verdict(NOT_RUN)
    assert verdict(value_of([], 75.0, failed=2)).why == "2 of 3 failed"
    assert verdict(value_of([], 75.0), "digits").word == NOT_RUN
    assert verdict(value_of([75.0, 76.0], None)).word == NOT_COMPARABLE
    short = verdict(value_of([75.0, 76.0], 80.0), "24 epochs")
    assert (short.word, short.why, short.difference, short.p) == (NOT_COMPARABLE, "24 epochs", -4.5, None)


def test_a_tally_counts_each_test_once_and_says_what_chance_would_do() -> None:
    alike = [value_of([75.0 + i, 75.1 + i, 75.2 + i], 75.1 + i) for i in range(19)]
    odd = value_of([75.0, 75.1, 75.2], 60.0)
    judged = [(value, verdict(value)) for value in [*alike, odd, odd, value_of([75.0], 60.0), value_of([], 60.0)]]
    found = tally(judged)
    assert (found.tested, found.different) == (20, 1)
    assert found.by_chance == pytest.approx(1.0)
    assert found.any_by_chance == pytest.approx(1 - 0.95**20)
    assert tally([]) == tally([(odd, Verdict(NOT_RUN))])
