"""Not a table of the paper: its methods side by side, and the released code's direction of the temperature."""

from __future__ import annotations

from analysis.paper import table1, table2
from analysis.paper.direction import REVERSED
from analysis.table.layout import Block, Part, Row, Table
from trainables.baselines import multi_plain
from trainables.recipes import dkd, energy_dkd, energy_kd, kd

TABLE = Table(
    key="methods",
    title="KD, DKD and Multi KD, with and without energy or strong views",
    parts=(
        Part(
            "main",
            "",
            lambda recipe: recipe.pairs,
            (
                Block(
                    rows=(
                        Row("kd", "KD", lambda recipe, pair: kd(recipe)),
                        Row("energy_kd", "Energy KD", energy_kd),
                        REVERSED,
                        Row("dkd", "DKD", lambda recipe, pair: dkd(recipe, pair)),
                        Row("energy_dkd", "Energy DKD", energy_dkd),
                        table1.MULTI,
                        Row(
                            "multi_plain",
                            "Multi KD, plain",
                            multi_plain,
                            note="Multi KD, plain: KD's learning rate, epochs and images, without strong views, so "
                            "that only the loss differs from KD's.",
                        ),
                    ),
                ),
            ),
        ),
    ),
    caption="Top-1 accuracy (%) of students taught by KD, Energy KD, DKD and Energy DKD, and by Multi KD as it was "
    "released (longer, with strongly augmented views) and by KD's schedule and images.",
    published_in=(table1.TABLE, table2.TABLE),
)
