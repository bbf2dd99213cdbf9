"""Table 11: the hyperparameters of Energy KD on CIFAR-100-LT, read from the runs that the other tables train."""

from __future__ import annotations

from analysis.table.kinds import HyperparameterTable
from analysis.table.layout import Block, Part, Row, Table, paper_pairs
from trainables.recipes import CIFAR100_LT, energy_kd

TABLE = Table(
    key="table11",
    title="Table 11: hyperparameters of Energy KD on CIFAR-100-LT",
    parts=(
        Part(
            "main",
            "",
            paper_pairs(*CIFAR100_LT.pairs, paper=CIFAR100_LT),
            (Block((Row("energy_kd", "Energy KD", energy_kd),)),),
            accuracies=False,
        ),
    ),
    caption="What is added to T at low energy, T(+), and taken from it at high energy, |T(-)|, and the share r of the "
    "training set that counts as either, by pair.",
    kind=HyperparameterTable(),
    dataset="cifar100_lt",
)
