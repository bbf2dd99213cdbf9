"""Figure 7: how far the correlations between a student's logits are from the teacher's, for KD and Energy KD."""

from __future__ import annotations

from analysis.paper.figure6 import ROWS
from analysis.table.kinds import PictureTable
from analysis.table.layout import Part, Table, paper_pairs
from trainables.recipes import WRN_40_2_16_2

TABLE = Table(
    key="figure7",
    title="Figure 7: correlation of logits, student against teacher",
    parts=(Part("main", "", paper_pairs(WRN_40_2_16_2, otherwise=1), (ROWS,), accuracies=False),),
    caption="Absolute difference between the class-by-class correlation matrices of the student's and of the teacher's "
    "logits on the test images, after the last epoch; darker is larger. Mean: over all pairs of different classes.",
    kind=PictureTable(shows="correlation"),
    paper_note="The pair of the paper's figure cannot be read from its text: it is a choice made here.",
)
