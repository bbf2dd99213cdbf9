"""A results folder in Python: its runs and curves as DataFrames, its tables, its figures.

>>> from analysis.results import load
>>> results = load("results")
>>> results.table("table5")[["label", "student", "mean", "std", "n", "paper"]]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis import paper
from analysis.export import to_curves, to_frame
from analysis.record.entry import Entry
from analysis.record.ledger import Ledger, Sweep
from analysis.table.asked import Asked, asked_for
from analysis.table.command_line import ledger_path
from analysis.table.latex import PLAIN, LatexStyle
from analysis.table.render import render, tidy
from analysis.tables import load_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Results:
    """A results folder as it was when it was loaded.

    Attributes:
        folder: Where it is.
        entries: Every finished or failed run.
        sweeps: What was asked for, the latest last.
    """

    folder: Path
    entries: tuple[Entry, ...]
    sweeps: tuple[Sweep, ...]

    @cached_property
    def _asked(self) -> Asked:
        return asked_for(self.sweeps, paper.find)

    @property
    def runs(self) -> pd.DataFrame:
        """A row for each run: what it is, all its fields, its numbers; as `ekd export --csv`."""
        return to_frame(self.entries, self._asked)

    @property
    def curves(self) -> pd.DataFrame:
        """A row for each epoch of each run; as `ekd export --curves`."""
        return to_curves(self.entries, self._asked)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that sweeps have asked for."""
        return tuple(dict.fromkeys(name for sweep in self.sweeps for name in sweep.tables))

    def table(self, name: str, *, sweep: int | None = None, metric: str = "best") -> pd.DataFrame:
        """A row for each entry of a table: mean, std, n, the paper's number.

        Args:
            name: The table, for example `table5`, or the name of an experiment's file.
            sweep: By the settings of the sweep of that number, counted from 1; by default of the latest.
            metric: `best` or `last` test epoch.

        Raises:
            UserError: If no sweep has asked for the table.
        """
        grid = load_grid(name, self.folder, sweep=sweep, metric=metric)
        return pd.DataFrame([tidy(grid, value) for value in grid.values])

    def text(
        self,
        name: str,
        form: str = "latex",
        *,
        sweep: int | None = None,
        metric: str = "best",
        alike: bool = False,
        style: LatexStyle = PLAIN,
    ) -> str:
        """A table as `latex`, `markdown`, `html`, `csv`, `json` or `text`.

        Args:
            name: The table.
            form: Of these.
            sweep: By the settings of the sweep of that number, counted from 1; by default of the latest.
            metric: `best` or `last` test epoch.
            alike: Mark also what a paired test does not tell from the best.
            style: Of LaTeX: caption, standard deviation, second best, siunitx.
        """
        return render(load_grid(name, self.folder, sweep=sweep, metric=metric, alike=alike), form, style=style)

    def figure(self, name: str, *, sweep: int | None = None, metric: str = "best") -> Figure:
        """A table's numbers as a matplotlib figure."""
        from analysis.figure.charts import draw

        return draw(load_grid(name, self.folder, sweep=sweep, metric=metric))


def load(folder: str | Path) -> Results:
    """Read the ledger of a results folder.

    Raises:
        UserError: If there is none.
    """
    path = Path(folder).expanduser()
    with Ledger.open(ledger_path(path), readonly=True) as ledger:
        return Results(path, tuple(ledger.all()), tuple(ledger.sweeps()))
