"""Figure 4: images of low and of high energy, with their classes, predicted classes and confidences."""

from __future__ import annotations

from analysis.table.kinds import PictureTable
from analysis.table.layout import Part, Table, paper_pairs
from trainables.recipes import IMAGENET, IMAGENET_34_18

RULE = (
    "Each class offers its own image of lowest (highest) energy, these come in the order of their energies, then each "
    "class's second: so no class is there twice before all others are."
)

TABLE = Table(
    key="figure4",
    title="Figure 4: images of low and of high energy",
    parts=(Part("main", "", paper_pairs(IMAGENET_34_18, otherwise=1, paper=IMAGENET), (), accuracies=False),),
    caption="Training images of which the teacher is most certain (lowest energy) and least certain (highest energy): "
    f"class, predicted class, its probability, energy E. {RULE} Here: ranks 1 to 16.",
    kind=PictureTable(shows="images"),
    paper_note="The network and the rule by which the paper's images were picked cannot be read from its text: both "
    "are choices made here.",
    dataset="imagenet",
)
