"""Table 10: the hyperparameters of Energy DKD on CIFAR-100, read from the runs that the other tables train."""

from __future__ import annotations

from analysis.table.kinds import HyperparameterTable
from analysis.table.layout import Block, Part, Row, Table, paper_pairs
from trainables.recipes import RESNET_32X4_SV2, VGG_13_8, VGG_13_MV2, energy_dkd

TABLE = Table(
    key="table10",
    title="Table 10: hyperparameters of Energy DKD on CIFAR-100",
    parts=(
        Part(
            "main",
            "",
            paper_pairs(VGG_13_8, VGG_13_MV2, RESNET_32X4_SV2),
            (Block((Row("energy_dkd", "Energy DKD", energy_dkd),)),),
            accuracies=False,
        ),
    ),
    caption="What is added to T at low energy, T(+), and taken from it at high energy, |T(-)|, and the share r of the "
    "training set that counts as either, by pair.",
    kind=HyperparameterTable(),
)
