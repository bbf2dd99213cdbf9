"""Figure 5: average predictions of certain and of uncertain images."""

from __future__ import annotations

from analysis.table.kinds import PictureTable
from analysis.table.layout import Part, Table, paper_pairs
from trainables.recipes import IMAGENET, IMAGENET_34_18

TABLE = Table(
    key="figure5",
    title="Figure 5: average predictions of certain and uncertain images",
    parts=(Part("main", "", paper_pairs(IMAGENET_34_18, otherwise=1, paper=IMAGENET), (), accuracies=False),),
    caption="Left: the teacher's probabilities of each training image in falling order, averaged over the share r of "
    "lowest energy (certain) and of highest energy (uncertain). Right: the same images of one class, their predictions "
    "averaged class by class: the class of which both ends have most images.",
    kind=PictureTable(shows="predictions"),
    paper_note="Which images the paper averaged cannot be read from its text: the choice is made here.",
    dataset="imagenet",
)
