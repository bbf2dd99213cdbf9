"""Table 12: the hyperparameters of Energy DKD on ImageNet, read from the runs that the other tables train."""

from __future__ import annotations

from analysis.table.kinds import HyperparameterTable
from analysis.table.layout import Block, Part, Row, Table, paper_pairs
from trainables.recipes import IMAGENET, IMAGENET_34_18, IMAGENET_50_MV1, energy_dkd

TABLE = Table(
    key="table12",
    title="Table 12: hyperparameters of Energy DKD on ImageNet",
    parts=(
        Part(
            "main",
            "",
            paper_pairs(IMAGENET_34_18, IMAGENET_50_MV1, paper=IMAGENET),
            (Block((Row("energy_dkd", "Energy DKD", energy_dkd),)),),
            accuracies=False,
        ),
    ),
    caption="What is added to T at low energy, T(+), and taken from it at high energy, |T(-)|, and the share r of the "
    "training set that counts as either, by pair.",
    kind=HyperparameterTable(),
    paper_note="The paper does not give T itself: mdistiller's T = 1 and T(-) = -1 would leave a temperature of 0, so "
    "the energy methods start from T = 2 here.",
    dataset="imagenet",
)
