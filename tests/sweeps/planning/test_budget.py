"""What fits into a budget: hours are those of the jobs that stay, and what decides least for its hours goes first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from commands import Command, no_measuring
from plans import plan_of

from analysis import paper
from analysis.claim.power import power
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from sweeps.planning.budget import Budget
from sweeps.planning.plan import PlannedJob
from trainables.spec import RunSpec

STD = 0.85


def price(job: PlannedJob, specs: Sequence[RunSpec]) -> float:
    """A second an epoch for each student, ten for their teacher's answers."""
    epochs = max(spec.epochs for spec in specs)
    return sum(spec.epochs for spec in specs) + 10 * epochs * (job.kind == "distilled")


def budget(seconds: float, *tables: str, **settings: object) -> Budget:
    asked = Settings(**{"seeds": 3, "pairs": ("resnet56/resnet20",)} | settings)  # type: ignore[arg-type]
    found = [paper.find(table) for table in tables]
    plan = plan_of(found, asked, {}, pack=None)
    return Budget(plan, tuple(resolve(table, asked) for table in found), price, seconds, STD)


def test_fewer_seeds_and_epochs_cost_what_their_jobs_cost() -> None:
    """A teacher, and for each seed a job of nine students and one of a student alone, 240 epochs each."""
    asked = budget(240 * 25, "table5")
    assert asked.whole == 240 * (1 + 3 * (19 + 1))
    assert [asked.with_seeds(seeds) for seeds in (1, 2)] == [240 * 21, 240 * 41]
    assert asked.epochs == int(240 * 25 / (asked.whole / 240))


def test_rows_go_by_what_they_decide_for_their_hours() -> None:
    asked = budget(240 * 56, "table5")
    units = {unit.name: unit for unit in asked.units(asked.names)}
    assert "kd" not in units
    assert "dkd" not in units
    assert units["kd_cutmix"].saved == 240 * 3
    assert units["kd_he_da_40"].of == 1
    assert units["kd_cutmix"].seen == pytest.approx(power(3, abs(_paper("kd_cutmix") - _paper("kd")), STD, paired=True))
    kept, out = asked.fitting()
    assert asked.seconds_of({*kept}) <= asked.seconds
    worth = sorted(units.values(), key=lambda unit: unit.seen / unit.saved)
    assert [unit.name for unit in out] == [unit.name for unit in worth[: len(out)]]
    assert {"kd", "dkd"} <= {*kept}


def _paper(row: str) -> float:
    from analysis.table.published import find

    number = find("table5", "main", row, resolve(paper.find("table5"), Settings()).parts[0].pairs[1])
    assert number is not None
    return number


def test_of_several_tables_those_are_left_out_that_decide_least_and_what_still_fits_comes_back() -> None:
    every = budget(1, "table5", "table13", "direction")
    sizes = {name: every.seconds_of({name}) for name in every.names}
    assert every.units(every.names)[0].saved < every.whole
    asked = budget(sizes["direction"], "table5", "table13", "direction")
    kept, out = asked.fitting()
    assert 0 < asked.seconds_of({*kept}) <= asked.seconds
    assert all(asked.seconds_of({*kept, unit.name}) > asked.seconds for unit in out)
    assert budget(every.whole, "table5", "table13", "direction").fitting()[1] == []
    assert every.fitting()[0] == []


def test_tables_that_share_all_their_runs_are_left_out_too() -> None:
    """Each alone saves nothing: both draw the students of one table from their weights."""
    both = budget(1, "figure6", "figure7", "table7")
    assert {unit.name for unit in both.units(both.names) if unit.saved} == {"table7"}
    kept, out = budget(both.seconds_of({"table7"}), "figure6", "figure7", "table7").fitting()
    assert (kept, sorted(unit.name for unit in out)) == (["table7"], ["figure6", "figure7"])


def test_the_plan_shows_money_and_what_fits(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    words = ("table5", "--gpus", "0", "--plan", "--price", "2.5")
    out = " ".join(command(*words, "--budget", "700h")[1].split())
    assert "at 2.5 per device-hour" in out
    assert "the budget of 700 h (1,750) is not enough for 1,609 h (4,0" in out
    assert "). Fewer of one of these: seeds: --seeds 1 takes " in out
    assert "the budget of 7,000 h (17,500) is enough for" in " ".join(command(*words, "--budget", "7000")[1].split())
    out = " ".join(command(*words, "--budget", "0.1")[1].split())
    for way in ("seeds: even one takes", "epochs: even one of each run takes", "rows: even dkd alone takes"):
        assert way in out
    assert command("table5", "--budget", "5")[::2] == (2, "error: --budget goes with --plan\n")
    assert "must be hours, as 200h, not 'x'" in command(*words, "--budget", "x")[2]
