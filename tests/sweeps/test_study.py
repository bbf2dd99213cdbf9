"""A study: what it counts, what it forgets when a search is killed, whom it stops."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.space import parse_space
from sweeps.study import Study, opened, pruner, sampler
from trainables.errors import UserError

SPACE = parse_space(["T=2:8", "T-=-4:0", "rule=energy,reversed"])
PAPER = {"T": 4.0, "T-": -2.0, "rule": "energy"}


def study(folder: Path, name: str = "tpe", grace: int | None = None) -> Study:
    return Study(folder / "study.sqlite", "one", SPACE, 4, partial(sampler, name), pruner(grace))


def tried(each: Study, count: int, *, score: float = 50) -> list[str]:
    """Trials from asking to their end, worse and worse."""
    runs = []
    for place in range(count):
        trial, _ = each.ask()
        runs.append(f"run{trial.number}")
        each.begin(trial, runs[-1])
        each.end(runs[-1], score - place)
    return runs


def test_known_points_come_first_and_once(tmp_path: Path) -> None:
    for _ in range(2):
        one = study(tmp_path)
        assert one.propose(PAPER, "paper")
        assert one.propose(PAPER | {"rule": "reversed"}, "released code")
        assert not one.propose(PAPER | {"T": 9.0}, "elsewhere")
    assert [one.ask()[1] for _ in range(2)] == [PAPER, PAPER | {"rule": "reversed"}]
    one.ask()
    assert one.counted == 3


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_a_search_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = study(tmp_path, name)
        tried(first, 9)
        again = study(tmp_path, name)
        assert again.counted == 9
        tried(again, 3, score=70)
    assert [one.number for one in again.tried()] == list(range(12))
    assert [one.score for one in again.best(2)] == [70, 69]
    assert len({str(one.fields) for one in again.tried()}) == 12


def test_what_was_under_way_when_a_search_died_is_asked_for_again(tmp_path: Path) -> None:
    killed = study(tmp_path)
    killed.propose(PAPER, "paper")
    lost = [killed.ask() for _ in range(3)]
    for number, (trial, _) in enumerate(lost):
        killed.begin(trial, f"run{number}")
    killed.end("run1", 60.0)
    after = study(tmp_path)
    states = [trial.state for trial in after.study.get_trials()]
    assert TrialState.RUNNING not in states
    assert after.counted == 1
    assert [after.ask()[1] for _ in range(2)] == [lost[0][1], lost[2][1]]


def test_a_stopped_search_leaves_nothing_under_way(tmp_path: Path) -> None:
    with opened(study(tmp_path)) as one:
        trial, fields = one.ask()
        one.begin(trial, "run")
    after = study(tmp_path)
    assert after.counted == 0
    assert after.ask()[1] == fields


def test_failures_count_and_pruned_trials_are_told_as_such(tmp_path: Path) -> None:
    one = study(tmp_path)
    for run in ("fails", "pruned"):
        one.begin(one.ask()[0], run)
    assert "failed: diverged" in one.end("fails", None, reason="diverged\nnow")[0]
    one.report("pruned", 1, 30.0)
    one.end("pruned", None, pruned=True)
    assert one.end("pruned", 99.0) == []
    assert [trial.state.name for trial in one.study.get_trials()] == ["FAIL", "PRUNED"]
    assert one.counted == 2
    assert one.best(3) == []


def test_two_trials_of_one_run_end_together(tmp_path: Path) -> None:
    one = study(tmp_path)
    for _ in range(2):
        one.begin(one.ask()[0], "run")
    assert len(one.end("run", 60.0)) == 2
    assert {trial.value for trial in one.study.get_trials()} == {60.0}


def test_the_worse_half_is_stopped_after_the_grace_and_by_what_an_earlier_search_saw(tmp_path: Path) -> None:
    before = study(tmp_path, grace=5)
    for place in range(10):
        before.begin(before.ask()[0], f"run{place}")
        for epoch in range(1, 11):
            assert not before.report(f"run{place}", epoch, 50.0 + place)
        before.end(f"run{place}", 50.0 + place)
    after = study(tmp_path, grace=5)
    for run, level in (("good", 58.0), ("bad", 51.0)):
        after.begin(after.ask()[0], run)
        stops = [epoch for epoch in range(1, 11) if after.report(run, epoch, level)]
        assert stops == ([] if run == "good" else [5, 6, 7, 8, 9, 10])


def test_a_file_that_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"study\.sqlite cannot be used as a study") as error:
        study(tmp_path)
    assert "\n" not in str(error.value)


def test_the_arguments_of_samplers_are_those_of_the_installed_optuna() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert isinstance(sampler("tpe", 0), optuna.samplers.TPESampler)
        assert isinstance(sampler("gp", 0), optuna.samplers.GPSampler)
