"""Lines above a table's rows that say how large its networks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.table.grid import Grid
from analysis.table.resolved import ResolvedTable
from analysis.table.sheet import Line, Sheet, Shown
from trainables import datasets
from trainables.data.counts import ImageCounts
from trainables.errors import UserError

COLUMNS = {"parameters": "parameters", "flops": "multiply-adds"}
"""What can be shown, and how it is called."""
OF_NETWORKS = f"lines of the tables that say how large networks are: {', '.join(COLUMNS)}"


def counts_of(resolved: ResolvedTable) -> ImageCounts:
    """The images that the networks of a table are measured on; refuses a table without such."""
    counts = datasets.find(resolved.settings.dataset).published
    if counts is None:
        raise UserError("--columns: how large networks are depends on the number of classes, which own images vary")
    if resolved.table.kind.timed or not any(part.pairs for part in resolved.parts):
        raise UserError(f"--columns: {resolved.table.key} has no teachers and students as columns")
    return counts


def with_costs(sheet: Sheet, grid: Grid, columns: Sequence[str]) -> Sheet:
    """The table with parameters and multiply-adds of each column's teacher and student."""
    from trainables.models.cost import cost_of, in_words  # With torch.

    counts = counts_of(grid.resolved)

    def line(who: str, column: str, networks: Sequence[str]) -> Line:
        costs = [cost_of(network, counts.num_classes, counts.side) for network in networks]
        numbers = [cost.parameters if column == "parameters" else cost.multiply_adds for cost in costs]
        return Line(f"{who} {COLUMNS[column]}", tuple(Shown(in_words(number)) for number in numbers))

    panels = []
    for panel in sheet.panels:
        own = next((each for each in grid.resolved.parts if each.part.title == panel.title), None)
        if own is None:
            panels.append(panel)
            continue
        teachers, students = ([getattr(pair, who) for pair in own.pairs] for who in ("teacher", "student"))
        sizes = [
            line(*one) for column in columns for one in (("Teacher", column, teachers), ("Student", column, students))
        ]
        first, *rest = panel.groups
        panels.append(replace(panel, groups=(first, tuple(sizes), *rest)))
    return replace(sheet, panels=tuple(panels))
