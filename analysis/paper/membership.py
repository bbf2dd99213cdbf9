"""Not a table of the paper: the two readings of its r, side by side."""

from __future__ import annotations

from dataclasses import replace

from analysis.paper import table1, table2, table5
from analysis.table.layout import Block, Part, Row, Table
from trainables.recipes import Pair, Recipe, Treatment, cutmix, energy_kd, kd

RATES = (20, 50)


def _he_da(rate: int) -> tuple[Row, Row]:
    def treat(recipe: Recipe, pair: Pair) -> Treatment:
        return kd(recipe, cutmix(rate / 100))

    return (
        Row(f"kd_he_da_{rate}", f"HE-DA ({rate}%), by view", treat),
        Row(
            f"kd_he_da_{rate}_by_image",
            f"HE-DA ({rate}%), by image",
            lambda recipe, pair: replace(treat(recipe, pair), membership="image"),
        ),
    )


TABLE = Table(
    key="membership",
    title="Low and high energy by view or by image",
    parts=(
        Part(
            "main",
            "",
            lambda recipe: recipe.pairs,
            (
                Block(
                    rows=(
                        Row("kd", "KD", lambda recipe, pair: kd(recipe)),
                        Row("energy_kd", "Energy KD, by view", energy_kd),
                        Row(
                            "energy_kd_by_image",
                            "Energy KD, by image",
                            lambda recipe, pair: replace(energy_kd(recipe, pair), membership="image"),
                        ),
                        *(row for rate in RATES for row in _he_da(rate)),
                    ),
                ),
            ),
        ),
    ),
    caption="Top-1 accuracy (%) of students taught by KD, Energy KD and HE-DA under two readings of r. By view (the "
    "default, as in the released code and the paper's pseudo code A.2): one pass of the teacher over the augmented "
    "training images gives the thresholds, and each augmented image is compared with them. By image (Eq. 9-11, the "
    "index of the array): the unaugmented images are ranked once, and the same N r images count as low or high in "
    "every epoch.",
    published_in=(table1.TABLE, table2.TABLE, table5.TABLE),
)
