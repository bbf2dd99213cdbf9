"""One entry of a table: what was measured, of how many runs, and the paper's number."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.table import published
from analysis.table.stats import Summary
from trainables.recipes import Pair


@dataclass(frozen=True)
class Value:
    """One entry of a table.

    kind: `row`, `teacher` or `student` (accuracies), `difference` (the paper's * and ** rows), `increase` (of cost) or
    `setting` (a hyperparameter). unit: `%` (of the test images, or of increase), `points` (of percentage), `s` (per
    epoch) or none. asked / n / failed: runs asked for, measured, recorded as failed; n of a difference: the seeds that
    both of its rows have; of an increase: those of the poorer of its two rows.
    paper: the paper's number. source: where it is printed. paper_epoch, paper_runs: see `Published`.
    of_another_epoch: whether the paper's number is known to be of another test epoch than the mean. alike: then, the
    same runs at the paper's epoch. runs: the ids of the runs asked for. measured, seeds: the number of each run that
    has one, and its seed; of a difference, those of the seeds that both rows have. chosen, p: of a difference, the row
    that was the best, and its p-value. near_best: of varied fields, whether a paired test does not tell the entry from
    the best one. partial: one of the rows that a difference is made of lacks runs.
    """

    part: str
    kind: str
    row: str
    label: str
    pair: Pair
    unit: str
    asked: int
    n: int = 0
    failed: int = 0
    mean: float | None = None
    std: float | None = None
    paper: float | None = None
    source: str = ""
    paper_epoch: str = ""
    paper_runs: int | None = None
    of_another_epoch: bool = False
    alike: Summary | None = None
    best: bool = False
    near_best: bool = False
    second: bool = False
    runs: tuple[str, ...] = ()
    measured: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    chosen: str = ""
    partial: bool = False
    p: float | None = None

    @property
    def summary(self) -> Summary | None:
        return None if self.mean is None else Summary(self.n, self.mean, self.std)

    @property
    def by_seed(self) -> dict[int, float]:
        return dict(zip(self.seeds, self.measured, strict=True))

    @property
    def copied(self) -> bool:
        """Whether the paper has its number from earlier papers."""
        return published.COPIED in self.source

    @property
    def state(self) -> str:
        """`done`, `failed` (nothing more to come without a retry of some run) or `incomplete`."""
        if self.n == self.asked and not self.partial:
            return "done"
        return "failed" if self.failed and self.n + self.failed == self.asked else "incomplete"
