"""Figure 3: which samples to augment. CutMix of high-energy, low-energy or half and half, at several rates, on KD."""

from __future__ import annotations

from analysis.table.kinds import AccuracyTable
from analysis.table.layout import Block, Part, Row, Table, paper_pairs
from trainables.recipes import WRN_40_2_16_2, cutmix, kd

_SELECTIONS = (("he", "high", "High energy"), ("half", "half", "Half high, half low"), ("le", "low", "Low energy"))
_RATES = (10, 20, 30, 40, 50)


def _share(word: str, selection: str, label: str, rate: int) -> Row:
    """CutMix of `rate` per cent of the images, picked by `selection`."""
    return Row(
        f"kd_{word}_da_{rate}",
        f"{label} ({rate}%)",
        lambda recipe, pair: kd(recipe, cutmix(rate / 100, selection)),
    )


_LINES = Block(
    rows=(
        Row("kd", "KD", lambda recipe, pair: kd(recipe)),
        Row("kd_cutmix", "KD with CutMix (100%)", lambda recipe, pair: kd(recipe, cutmix())),
    ),
)

TABLE = Table(
    key="figure3",
    title="Figure 3: which samples to augment",
    parts=(
        Part(
            "main",
            "",
            paper_pairs(WRN_40_2_16_2, otherwise=1),
            (_LINES, *(Block(tuple(_share(*kind, rate) for rate in _RATES)) for kind in _SELECTIONS)),
            accuracies=False,
        ),
    ),
    caption="Top-1 accuracy (%) of students taught by KD with CutMix of the high-energy samples, of the low-energy "
    "ones, or of half each, against the share of the images that is augmented.",
    kind=AccuracyTable(by_rate=True),
    paper_note="The pair and the numbers of the paper's figure cannot be read from its text: the pair is a choice "
    "made here.",
)
