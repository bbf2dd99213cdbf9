"""Not a table of the paper: rules that set the temperature, each by three weights. What is temperature, what weight?"""

from __future__ import annotations

from collections.abc import Callable

from analysis.paper import table1
from analysis.paper.temperatures import ENERGY_KD, KD, LSKD, NORMKD
from analysis.table.layout import Block, Part, Row, Table
from trainables.recipes import Pair, Recipe, Treatment
from trainables.rivals import with_kd_gradient, with_kd_weight

RULES = (KD, ENERGY_KD, LSKD, NORMKD)
Change = Callable[[Treatment, Recipe], Treatment]


def _row(row: Row, key: str, words: str, change: Change) -> Row:
    def treat(recipe: Recipe, pair: Pair) -> Treatment:
        return change(row.treat(recipe, pair), recipe)

    return Row(f"{row.key}_{key}", f"{row.label}, {words}", treat)


def _weight(weight: float) -> Block:
    words = f"weight {weight:g}"
    rows = (_row(row, f"w{weight:g}", words, lambda treatment, _: with_kd_weight(treatment, weight)) for row in RULES)
    return Block(tuple(rows))


TABLE = Table(
    key="weights",
    title="Rules that set the temperature, by weight",
    parts=(
        Part(
            "main",
            "",
            lambda recipe: recipe.pairs,
            (
                _weight(0.9),
                _weight(9),
                Block(tuple(_row(row, "equal", "equal gradient", with_kd_gradient) for row in RULES if row is not KD)),
            ),
        ),
    ),
    caption="Top-1 accuracy (%) of students taught by KD whose temperatures are set by different rules, by the weight "
    "of the distillation term; cross-entropy has weight 0.1, and all train by KD's schedule. Weight 0.9: as KD and "
    "NormKD are released; 9: as LSKD is. Each rule keeps its own factor. Equal gradient: the weight by which the mean "
    "gradient on the untrained student's logits is that of KD with weight 0.9.",
    published_in=(table1.TABLE,),
)
