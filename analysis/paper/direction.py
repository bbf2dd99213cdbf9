"""Not a table of the paper: which samples get the high temperature. The paper's direction, its reverse, either end."""

from __future__ import annotations

from analysis.paper import table1, table2, table4
from analysis.paper.table4 import GRADATION, HIGH, LOW
from analysis.table.layout import Block, Part, Row, Table
from trainables.recipes import energy_kd, kd

REVERSED = Row(
    "energy_kd_reversed",
    "Energy KD, reversed",
    lambda recipe, pair: energy_kd(recipe, pair, "reversed"),
    note="Reversed: the high temperature at high energy, as in the released configurations.",
)

_ROWS = Block(
    rows=(
        Row("kd", "KD", lambda recipe, pair: kd(recipe)),
        Row("energy_kd", "Energy KD", energy_kd),
        REVERSED,
        LOW,
        HIGH,
        GRADATION,
    ),
)

TABLE = Table(
    key="direction",
    title="The direction of the temperature",
    parts=(Part("main", "", lambda recipe: recipe.pairs, (_ROWS,)),),
    caption="Top-1 accuracy (%) of students taught with one temperature for all (KD); with a high one at low energy "
    "and a low one at high energy, as in the paper (Energy KD); with the reverse, as in the released configurations; "
    "with another temperature at one end only; and with ten temperatures by energy. By the paper's schedules all but "
    "KD train longer.",
    published_in=(table1.TABLE, table2.TABLE, table4.TABLE),
)
