"""What fits into a budget, as it is shown: fewer seeds, fewer epochs, fewer rows or tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from analysis.claim.power import detectable_difference
from sweeps.display.rich_table import make_table
from sweeps.display.words import hours_words, money_words
from sweeps.planning.budget import Budget, LeftOut
from trainables.commands import count

NAMED = 24
"""Rows or tables that are written behind an option."""


@dataclass(frozen=True)
class BudgetLines:
    """Each way by itself; all hours are of one device. price: of an hour. remark: whose hours they are."""

    budget: Budget
    price: float | None = None
    remark: str = ""

    def lines(self) -> list[RenderableType]:
        budget = self.budget
        asked, whole = self._cost(budget.seconds), self._cost(budget.whole)
        if budget.whole <= budget.seconds:
            return [Text(f"the budget of {asked} is enough for {whole}")]
        what = "table" if len(budget.tables) > 1 else "row"
        ways = {"seeds": self._seeds(), "epochs": self._epochs(), f"{what}s": self._left_out(what)}
        rows = [(unit.name, self._cost(unit.saved), _decides(unit)) for unit in reversed(_by_worth(budget))]
        return [
            Text(f"the budget of {asked} is not enough for {whole}{self.remark}. Fewer of one of these:"),
            *(Text(f"  {name}: {words}") for name, words in ways.items()),
            make_table((what, "saves", "decides"), rows),
            Text(
                f"The {what} that decides most for its hours comes first. saves: if it alone is left out. decides: of "
                "its differences from what it is compared with, how many the paired t-test would see, were they as "
                f"large as the paper's and varied by {budget.std:.2f} points between seeds (-: the paper prints none). "
                "Not listed: what others are compared with, and what saves nothing, since others need the same runs."
            ),
        ]

    def _cost(self, seconds: float) -> str:
        hours = seconds / 3600
        return hours_words(hours) + ("" if self.price is None else f" ({money_words(self.price * hours)})")

    def _seeds(self) -> str:
        budget, seeds = self.budget, _most_seeds(self.budget)
        if not seeds:
            return f"even one takes {self._cost(budget.with_seeds(1))}"
        taken = self._cost(budget.with_seeds(seeds))
        if seeds == 1:
            return f"--seeds 1 takes {taken}; one seed cannot show that rows differ"
        sees, saw = (detectable_difference(number, budget.std, paired=True) for number in (seeds, budget.seeds))
        return f"--seeds {seeds} takes {taken}; sees differences of {sees:.1f} points and more, not of {saw:.1f}"

    def _epochs(self) -> str:
        budget = self.budget
        if not budget.epochs:
            return f"even one of each run takes {self._cost(budget.an_epoch)}"
        done = f"; {count(len(budget.plan.done), 'run')} that are done would be trained again"
        return (
            f"--epochs {budget.epochs} of all runs takes {self._cost(budget.epochs * budget.an_epoch)}; accuracies are "
            f"not those of the paper's schedule{done if budget.plan.done else ''}"
        )

    def _left_out(self, what: str) -> str:
        budget = self.budget
        kept, out = budget.fitting()
        taken = budget.seconds_of({*kept})
        if not 0 < taken <= budget.seconds:
            seconds, name = min((seconds, name) for name in budget.names if (seconds := budget.seconds_of({name})))
            return f"even {name} alone takes {self._cost(seconds)}"
        names = " ".join(kept) if len(kept) <= NAMED else count(len(kept), what)
        without = ", ".join(unit.name for unit in out)
        return f"{'--rows ' if what == 'row' else ''}{names} takes {self._cost(taken)}; without {without}"


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
