"""Figure 6: t-SNE of the test images' features, of students taught by KD and by Energy KD."""

from __future__ import annotations

from analysis.table.kinds import PictureTable
from analysis.table.layout import Block, Part, Row, Table, paper_pairs
from trainables.recipes import WRN_40_2_16_2, energy_kd, kd

ROWS = Block(
    rows=(
        Row("kd", "KD", lambda recipe, pair: kd(recipe)),
        Row("energy_kd", "Energy KD", energy_kd),
    ),
)

TABLE = Table(
    key="figure6",
    title="Figure 6: features of the test images",
    parts=(Part("main", "", paper_pairs(WRN_40_2_16_2, otherwise=1), (ROWS,), accuracies=False),),
    caption="t-SNE of what the students' classifiers see, after the last epoch. Silhouette: of the map, and of the "
    "features themselves; 1 for classes far apart, 0 for classes that overlap.",
    kind=PictureTable(shows="embedding"),
    paper_note="The pair and the classes of the paper's figure (but for vehicles, flowers and trees) cannot be read "
    "from its text: they are choices made here.",
)
