"""Table 13: MixUp of the high-energy samples (HE-MixUp) against MixUp of all, on KD."""

from __future__ import annotations

from analysis.table.layout import Block, Part, Row, Table
from trainables.recipes import kd, mixup


def _he_mixup(rate: int) -> Row:
    return Row(f"kd_he_mixup_{rate}", f"HE-MixUp ({rate}%)", lambda recipe, pair: kd(recipe, mixup(rate / 100)))


_KD = Block(
    rows=(
        Row("kd", "KD", lambda recipe, pair: kd(recipe)),
        Row(
            "kd_mixup",
            "KD+MixUp (100%)",
            lambda recipe, pair: kd(recipe, mixup()),
            note="KD+MixUp: alpha 0.2, as for HE-MixUp in the released code, so that only the share of the images "
            "differs. Wang et al. (2022) mix all images with alpha 1 (--rows kd_mixup --set mixing.alpha=1).",
        ),
        *(_he_mixup(rate) for rate in (20, 30, 40, 50)),
    ),
)

TABLE = Table(
    key="table13",
    title="Table 13: HE-MixUp on KD",
    parts=(Part("main", "", lambda recipe: recipe.pairs, (_KD,), accuracies=False),),
    caption="Top-1 accuracy (%) of students taught with MixUp of all images (100%) or of the high-energy ones only "
    "(HE-MixUp, at several rates), on KD.",
)
