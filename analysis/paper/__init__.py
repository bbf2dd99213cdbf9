"""The paper's tables as data: one module a table, whose `TABLE` is found by looking into this folder; and `claims`.

ABLATION is the name of a table of any rows, whose fields a sweep varies.
"""

from __future__ import annotations

import re

from analysis.record.settings import Settings
from analysis.table.experiment import own_table, row_of_sum
from analysis.table.layout import Block, Part, Row, Table
from trainables.additions import load, modules_in, remembered
from trainables.commands import did_you_mean
from trainables.errors import UserError
from trainables.recipes import Pair, Recipe, Treatment

ABLATION = "ablation"


def _natural(name: str) -> list[str | int]:
    """A sort key that puts table5 before table13."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@remembered
def tables() -> dict[str, Table]:
    """Every table (and figure) by its name, which is its module's."""
    names = sorted((name for name in modules_in(__name__) if name != "claims"), key=_natural)
    return {name: load(__name__, name, "TABLE", Table) for name in names}


@remembered
def ablation() -> Table:
    """The rows of all tables of accuracies, a row for each other method, with the method's own defaults, and `A+B`, the
    sum of two rows."""
    trained = [table for table in tables().values() if table.kind.compares_accuracies]
    rows = {row.key: row for table in reversed(trained) for part in table.parts for row in part.rows}
    own = {name: _row_of_method(name) for name in modules_in("trainables.methods") if name not in (*rows, "vanilla")}
    rows |= own
    block = Block(tuple(rows.values()), more=lambda key: row_of_sum(key, rows))
    return Table(
        key=ABLATION,
        title="Ablation",
        parts=(Part("main", "", lambda recipe: recipe.pairs, (block,)),),
        caption="Top-1 accuracy (%) of the student.",
    )


def _row_of_method(name: str) -> Row:
    def treat(recipe: Recipe, pair: Pair) -> Treatment:
        from trainables import methods  # With torch.

        method = methods.find(name)
        return Treatment(name, temperature=recipe.temperature if method.TEMPERED else None, peer=method.PEER)

    return Row(name, name, treat)


def find(name: str, settings: Settings | None = None) -> Table:
    """The table of that name (in any case): of the program, ABLATION, or the own one of some settings."""
    known = {**tables(), ABLATION: ablation()}
    if settings is not None and settings.own_table:
        own = own_table(settings.own_table, ablation().parts[0].rows)
        known |= {own.key.lower(): own}
    table = known.get(name.lower())
    if table is None:
        hint = f" ({near})" if (near := did_you_mean(name, known)) else ""
        raise UserError(f"unknown table {name!r}{hint}: there is {', '.join(known)}")
    return table
