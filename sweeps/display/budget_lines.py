"""What fits into a budget, as it is shown: fewer seeds, fewer epochs, fewer rows or tables."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.text import Text

from analysis.claim.power import detectable_difference
from sweeps.display.rich_table import make_table
from sweeps.display.words import hours_words
from sweeps.planning.budget import Budget, LeftOut
from trainables.commands import count

NAMED = 12
"""Rows that are written behind an option."""


def budget_lines(budget: Budget) -> list[RenderableType]:
    """Each way by itself; all hours are of one device."""
    asked = hours_words(budget.seconds / 3600)
    whole = hours_words(budget.whole / 3600)
    if budget.whole <= budget.seconds:
        return [Text(f"the budget of {asked} is enough")]
    kept, out = budget.fitting()
    what = "table" if len(budget.tables) > 1 else "row"
    words = [Text(f"the budget of {asked} is not enough for {whole}; each of these would be, by itself:")]
    words += [Text(f"  {line}") for line in (_seeds(budget), _epochs(budget), _left_out(budget, kept, out, what))]
    columns = (what, "saves", "decides")
    rows = [(unit.name, hours_words(unit.saved / 3600), _decides(unit)) for unit in reversed(_by_worth(budget))]
    return [
        *words,
        make_table(columns, rows),
        Text(
            "saves: if it alone is left out. decides: how many of its differences to the row that it is compared with "
            f"the paired t-test would see, were they as large as the paper's and varied by {budget.std:.2f} points "
            "between seeds (-: the paper prints none). What others are compared with is not listed."
        ),
    ]


def budget_json(budget: Budget) -> dict[str, Any]:
    kept, out = budget.fitting()
    return {
        "hours": budget.seconds / 3600,
        "enough": budget.whole <= budget.seconds,
        "seeds": _most_seeds(budget),
        "epochs": budget.epochs,
        "kept": kept,
        "left_out": [unit.name for unit in out],
    }


def _by_worth(budget: Budget) -> list[LeftOut]:
    """The least for its hours first."""
    units = [unit for unit in budget.units(budget.names) if unit.saved > 0]
    return sorted(units, key=lambda unit: (unit.seen / unit.saved, -unit.saved, unit.name))


def _decides(unit: LeftOut) -> str:
    return f"{unit.seen:.1f} of {unit.of}" if unit.of else "-"


def _most_seeds(budget: Budget) -> int:
    return max((seeds for seeds in range(1, budget.seeds) if budget.with_seeds(seeds) <= budget.seconds), default=0)


def _seeds(budget: Budget) -> str:
    seeds = _most_seeds(budget)
    if not seeds:
        return f"no number of seeds: one takes {hours_words(budget.with_seeds(1) / 3600)}"
    taken = hours_words(budget.with_seeds(seeds) / 3600)
    if seeds == 1:
        return f"--seeds 1: {taken}; one seed cannot show that rows differ"
    sees, saw = (detectable_difference(number, budget.std, paired=True) for number in (seeds, budget.seeds))
    return f"--seeds {seeds}: {taken}; sees differences of {sees:.1f} points and more, not of {saw:.1f}"


def _epochs(budget: Budget) -> str:
    if not budget.epochs:
        return "no number of epochs: one of each run takes longer"
    done = f"; {count(len(budget.plan.done), 'run')} that are done would be trained again" if budget.plan.done else ""
    return f"--epochs {budget.epochs}: of all runs; their accuracies are not those of the paper's schedule{done}"


def _left_out(budget: Budget, kept: list[str], out: list[LeftOut], what: str) -> str:
    if budget.seconds_of({*kept}) > budget.seconds or not kept:
        return f"no {what}s to leave out: the least that stays takes {hours_words(budget.seconds_of({*kept}) / 3600)}"
    option = "--rows " if what == "row" else ""
    names = " ".join(kept) if len(kept) <= NAMED else f"({count(len(kept), what)})"
    without = ", ".join(unit.name for unit in out)
    return f"{option}{names}: {hours_words(budget.seconds_of({*kept}) / 3600)}; without {without}"
