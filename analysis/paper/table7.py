"""Table 7: what augmentation costs, as seconds per epoch against the share of the images that is mixed."""

from __future__ import annotations

from analysis.table.kinds import CostTable
from analysis.table.layout import Block, Part, Row, Table, paper_pairs
from trainables.recipes import RESNET_32X4_8X4, cutmix, kd


def _share(rate: int) -> Row:
    return Row(f"kd_he_da_{rate}", f"{rate / 100:g}", lambda recipe, pair: kd(recipe, cutmix(rate / 100)))


_RATES = Block(
    rows=(
        Row("kd", "0", lambda recipe, pair: kd(recipe)),
        *(_share(rate) for rate in (10, 20, 30, 40, 50)),
        Row("kd_cutmix", "1.0", lambda recipe, pair: kd(recipe, cutmix())),
    ),
)

TABLE = Table(
    key="table7",
    title="Table 7: cost of augmentation",
    parts=(Part("main", "", paper_pairs(RESNET_32X4_8X4, otherwise=1), (_RATES,), accuracies=False),),
    caption="Seconds per epoch of KD against the share of the images that CutMix augments (the high-energy ones; "
    "0: none; 1.0: all), and the increase over no augmentation and over a share of 0.1.",
    kind=CostTable(baselines=("kd", "kd_he_da_10")),
    paper_note="The paper gives the increase over 0.1 only, on an RTX 3090, and does not name the pair that it timed.",
)
