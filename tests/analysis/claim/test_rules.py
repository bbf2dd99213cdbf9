"""The rules that hold measured differences against a claim: planted differences, by hand, and how often they err."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from analysis.claim.kinds import MOST, SOME, Above, Alike, Contest, Kind, UpTo
from analysis.claim.rules import CONTRADICTED, NOT_SHOWN, SUPPORTED, Finding, Unit, decide
from analysis.table.stats import holm, paired
from trainables.recipes import CIFAR100

NONE = Contest((), ())
EVERYWHERE, SOMEWHERE, MOSTLY = Above((NONE,)), Above((NONE,), SOME), Above((NONE,), MOST)
SPREAD = (-0.1, 0.0, 0.1)


def unit(number: int, *rows: list[list[float]]) -> Unit:
    """A column whose differences are rows x others x seeds."""
    made = tuple(
        tuple(paired(dict(enumerate(one, 1)), dict.fromkeys(range(1, 99), 0.0)) for one in row) for row in rows
    )
    assert all(one is not None for row in made for one in row)
    labels = [f"row{i}" for i in range(len(rows))], [f"other{j}" for j in range(len(rows[0]))]
    return Unit(CIFAR100.pairs[number], f"pair{number}", tuple(labels[0]), tuple(labels[1]), made)  # type: ignore[arg-type]


def around(*means: float) -> list[Unit]:
    """Columns of one comparison, each of three seeds."""
    return [unit(number, [[mean + offset for offset in SPREAD]]) for number, mean in enumerate(means)]


def word(kind: Kind, units: list[Unit], lacking: int = 0) -> str:
    return decide(kind, units, lacking).word


@pytest.mark.parametrize(
    ("kind", "means", "expected"),
    [
        (EVERYWHERE, (1.0, 1.0, 0.8), SUPPORTED),
        (EVERYWHERE, (1.0, 1.0, -0.01), NOT_SHOWN),
        (EVERYWHERE, (1.0, 1.0, -2.0), CONTRADICTED),
        (EVERYWHERE, (0.01, 0.02, 0.01), NOT_SHOWN),
        (MOSTLY, (1.0, 1.0, -0.01), SUPPORTED),
        (MOSTLY, (1.0, -2.0, -2.0), CONTRADICTED),
        (MOSTLY, (2.0, -0.01, -0.01), NOT_SHOWN),
        (SOMEWHERE, (-0.5, 2.0, 0.0), SUPPORTED),
        (SOMEWHERE, (-2.0, -2.0, -2.0), CONTRADICTED),
        (SOMEWHERE, (-2.0, -2.0, 0.1), NOT_SHOWN),
        (UpTo(NONE, 1.6), (0.2, 1.5), SUPPORTED),
        (UpTo(NONE, 1.6), (0.2, 0.3), CONTRADICTED),
        (UpTo(NONE, 0.6), (0.0, 0.2), NOT_SHOWN),
        (Alike((NONE,), 2.0), (0.3, -0.3), SUPPORTED),
        (Alike((NONE,), 0.3), (0.1, -3.0), CONTRADICTED),
        (Alike((NONE,), 0.3), (0.2, 0.3), NOT_SHOWN),
    ],
)
def test_planted_differences(kind: Kind, means: tuple[float, ...], expected: str) -> None:
    assert word(kind, around(*means)) == expected


def test_a_margin_moves_what_counts_as_below() -> None:
    units = around(-0.1, -0.15)
    assert word(EVERYWHERE, units) == NOT_SHOWN
    assert word(Above((NONE,), margin=0.6), units) == SUPPORTED
    assert word(Above((NONE,), margin=0.6), around(-0.1, -3.0)) == CONTRADICTED


@pytest.mark.parametrize("kind", [EVERYWHERE, MOSTLY, Alike((NONE,), 9.0)])
def test_what_lacks_pairs_is_not_supported(kind: Kind) -> None:
    units = around(1.0, 1.0)
    assert word(kind, units) == SUPPORTED
    found = decide(kind, units, 2)
    assert found.word == NOT_SHOWN
    assert found.why.endswith("2 of 4 pairs not run")


def test_no_gain_but_a_pair_is_lacking_where_it_may_be() -> None:
    assert word(UpTo(NONE, 1.6), around(0.2, 0.3), 1) == NOT_SHOWN
    assert word(SOMEWHERE, around(-2.0, -2.0), 1) == NOT_SHOWN


def test_one_seed_shows_nothing_and_says_so() -> None:
    found = decide(EVERYWHERE, [unit(0, [[5.0]])], 0)
    assert (found.word, found.p, found.why, found.estimate.mean) == (NOT_SHOWN, None, "no test with one seed", 5.0)


def test_differences_without_any_spread_show_nothing() -> None:
    """As on a small test set, where two seeds easily gain the same number of images."""
    assert word(EVERYWHERE, [unit(0, [[0.28, 0.28]])]) == NOT_SHOWN


def test_each_of_the_others_must_be_beaten_by_one_row() -> None:
    """Row 0 beats the first opponent only, row 1 both."""
    both = unit(0, [[3.0, 3.1, 2.9], [-1.0, -1.1, -0.9]], [[1.0, 1.05, 0.95], [1.0, 1.05, 0.95]])
    found = decide(EVERYWHERE, [both], 0)
    assert (found.word, found.estimate.mean, found.of) == (SUPPORTED, pytest.approx(1.0), "(row1 over other0, pair0)")
    lost = unit(0, [[3.0, 3.1, 2.9], [-1.0, -1.05, -0.95]], [[1.0, 1.1, 0.9], [-1.0, -1.05, -0.95]])
    assert word(EVERYWHERE, [lost]) == CONTRADICTED, "the second opponent beats both rows"


def test_the_tests_are_scipys_with_holms_correction() -> None:
    draw = np.random.default_rng(1)
    samples = [list(draw.normal(0.5, 0.5, 4)) for _ in range(3)]
    found = decide(SOMEWHERE, [unit(number, [sample]) for number, sample in enumerate(samples)], 0)
    expected = holm([stats.ttest_1samp(sample, 0).pvalue for sample in samples])
    assert [one.p for one in found.measured] == pytest.approx(expected)


def test_the_average_over_pairs_of_one_row_by_hand() -> None:
    """Two pairs of mean 1 and 2, standard error 0.1 / sqrt(3) each: error 0.1 / sqrt(6), 4 degrees of freedom."""
    found = decide(EVERYWHERE, around(1.0, 2.0), 0)
    assert found.p == pytest.approx(2 * stats.t.sf(1.5 / (0.1 / 6**0.5), 4))
    assert found.estimate.interval() == pytest.approx((1.5 - 2.77645 * 0.0408248, 1.5 + 2.77645 * 0.0408248), abs=1e-5)
    assert found.of == "on average over 2 pairs"


def test_contests_of_one_pair_are_no_further_evidence() -> None:
    """Top-1 and top-5 of the same runs, or several rates, are averaged seed by seed, and tested as one."""
    first, second = [0.1, 0.3, 0.2], [0.3, 0.9, 0.4]
    found = decide(EVERYWHERE, [unit(0, [first]), unit(0, [second])], 0)
    assert found.p == pytest.approx(stats.ttest_1samp([0.2, 0.6, 0.3], 0).pvalue)
    assert found.of == "on average over 2 comparisons"


@pytest.mark.parametrize("kind", [EVERYWHERE, SOMEWHERE, UpTo(NONE, 0.6)], ids=["everywhere", "somewhere", "up to"])
def test_without_any_true_difference_few_claims_are_called_either_way(kind: Kind) -> None:
    """Four rows of which the best is taken, four pairs, three seeds. At most 5 % are supported; for a claim of gains
    `contradicted` is right."""
    draw, tried = np.random.default_rng(0), 300

    def once() -> Finding:
        columns = [draw.normal(0, 0.5, (4, 1, 3)).tolist() for _ in range(4)]
        return decide(kind, [unit(number, *rows) for number, rows in enumerate(columns)], 0)

    words = [once().word for _ in range(tried)]
    assert words.count(SUPPORTED) / tried < 0.07
    if not isinstance(kind, UpTo):
        assert words.count(CONTRADICTED) / tried < 0.07
