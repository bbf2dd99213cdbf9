"""A study: what it counts, what it forgets when a search is killed, whom it stops."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from few import fast
from optuna.trial import TrialState

from analysis.record.ledger import Ledger
from sweeps.searching import study as study_module
from sweeps.searching.goals import goals
from sweeps.searching.space import parse_space
from sweeps.searching.strategies import sampler
from sweeps.searching.study import Study, opened
from trainables.errors import UserError

SPACE = parse_space(["T=2:8", "T-=-4:0", "rule=energy,reversed"])
PAPER = {"T": 4.0, "T-": -2.0, "rule": "energy"}


TOP1 = goals((), 10, gain=False)


def study(folder: Path, name: str = "tpe", prunes: str = "none", costs: tuple[str, ...] = ()) -> Study:
    """With ten epochs a run; nobody is given up before the fifth."""
    looked_for = goals(costs, 10, gain=False)
    return Study(folder / "study.sqlite", "one", SPACE, 4, partial(sampler, name), prunes, (5, 10), looked_for)


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


@pytest.mark.parametrize("name", fast(["tpe", "gp"], "tpe", others="medium"))
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
    assert "failed: diverged now" in one.fail("fails", "diverged\nnow")[0]
    one.report("pruned", 1, 30.0)
    one.prune("pruned")
    assert one.end("pruned", 99.0) == []
    assert [(each.state, each.score, each.reason) for each in one.tried()] == [
        ("failed", None, "diverged\nnow"),
        ("pruned", 30, ""),
    ]
    assert one.counted == 2
    assert one.best(3) == []


@pytest.mark.parametrize(
    ("scores", "floor"), fast([((), 10), ((60.0, 30.0), 10), ((60.0, 4.0), 4)], ((60.0, 4.0), 4), others="medium")
)
def test_samplers_are_told_the_worst_of_what_cannot_be_trained(
    scores: tuple[float, ...], floor: float, tmp_path: Path
) -> None:
    one = study(tmp_path)
    for number, score in enumerate(scores):
        one.begin(one.ask()[0], f"run{number}")
        one.end(f"run{number}", score)
    for number in range(4):
        one.begin(one.ask()[0], f"bad{number}")
        one.fail(f"bad{number}", "diverged")
    one.refuse(one.ask()[0], "no run")
    trials = one.study.get_trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert {trial.value for trial in trials if "failed" in trial.user_attrs} == {floor}
    assert [each.score for each in one.best(9)] == sorted(scores, reverse=True)
    assert one.importances() == {}


def test_what_a_machine_lost_is_no_trial_and_is_asked_for_once_by_each_search(tmp_path: Path) -> None:
    for _ in range(3):
        one = study(tmp_path)
        one.propose(PAPER, "paper")
        assert one.counted == 0
        trial, fields = one.ask()
        assert fields == PAPER
        one.begin(trial, "run")
        assert "lost: out of memory" in one.lose("run", "out of memory")[0]
        assert one.counted == 1
        assert one.ask()[1] != PAPER
    last = study(tmp_path)
    trial, _ = last.ask()
    assert trial.user_attrs["origin"] == "paper"
    last.begin(trial, "run")
    last.end("run", 70.0)
    assert last.best(1)[0].origin == "paper"
    assert [one.reason for one in last.tried() if one.runs == ("run",)][:3] == ["out of memory"] * 3


def test_a_retried_trial_takes_the_place_of_the_failed_one(tmp_path: Path) -> None:
    one = study(tmp_path)
    trial, fields = one.ask()
    one.begin(trial, "run")
    one.fail("run", "diverged")
    again = study(tmp_path)
    again.retry()
    assert again.counted == 0
    trial, asked = again.ask()
    assert asked == fields
    again.begin(trial, "run")
    again.fail("run", "diverged")
    assert study(tmp_path).counted == 1


def test_scores_survive_a_kill_and_come_from_the_ledger(tmp_path: Path) -> None:
    killed = study(tmp_path)
    for run in ("one", "other"):
        killed.begin(killed.ask()[0], run)
        killed.report(run, 1, 20.0)
        killed.report(run, 2, 30.0)
    after = study(tmp_path)
    resumed, answered, shared = (after.ask()[0] for _ in range(3))
    after.begin(resumed, "one")
    after.report("one", 3, 40.0)
    after.begin(shared, "one")
    after.begin(answered, "other")
    after.end("other", 50.0, {1: 20.0, 2: 30.0, 3: 50.0})
    curves = [trial.intermediate_values for trial in after.study.get_trials() if trial.state != TrialState.FAIL]
    assert curves == [{1: 20, 2: 30, 3: 40}, {1: 20, 2: 30, 3: 50}, {1: 20, 2: 30, 3: 40}]


def test_a_trial_that_was_killed_while_it_was_asked_for(tmp_path: Path) -> None:
    killed = study(tmp_path)
    killed.propose(PAPER, "paper")
    killed.study.ask()
    assert study(tmp_path).ask()[1] == PAPER


@pytest.mark.parametrize("folder", ["what?mode=ro", "100%20{a}#b"])
def test_any_folder_holds_a_study(folder: str, tmp_path: Path) -> None:
    tried(study(tmp_path / folder), 1)
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert study(tmp_path / folder).counted == 1


def test_two_trials_of_one_run_end_together(tmp_path: Path) -> None:
    one = study(tmp_path)
    for _ in range(2):
        one.begin(one.ask()[0], "run")
    assert len(one.end("run", 60.0)) == 2
    assert {trial.value for trial in one.study.get_trials()} == {60.0}


@pytest.mark.parametrize("prunes", fast(["median", "asha", "hyperband"], "median", others="medium"))
@pytest.mark.medium
def test_the_worse_are_stopped_after_the_grace_and_by_what_an_earlier_search_saw(prunes: str, tmp_path: Path) -> None:
    """asha and hyperband look once, at the end of the grace: with ten epochs there is no second rung."""
    before = study(tmp_path, prunes=prunes)
    for place in range(10):
        before.begin(before.ask()[0], f"run{place}")
        for epoch in range(1, 11):
            assert not before.report(f"run{place}", epoch, 50.0 + place)
        before.end(f"run{place}", 50.0 + place)
    after = study(tmp_path, prunes=prunes)
    for run, level in (("good", 60.0), ("bad", 51.0)):
        after.begin(after.ask()[0], run)
        stops = [epoch for epoch in range(1, 11) if after.report(run, epoch, level)]
        assert stops == ([] if run == "good" else [5, 6, 7, 8, 9, 10] if prunes == "median" else [5])
    assert "pruned" in after.prune("bad", saved=4)[0]
    (told,) = [one for one in after.tried() if one.state == "pruned"]
    assert (told.pruner, told.saved, told.score) == (prunes, 4, 51)


def test_a_trial_that_loses_by_its_first_runs_is_given_up(tmp_path: Path) -> None:
    one = study(tmp_path, prunes="wilcoxon")
    for name, scores in (("best", (60, 70, 65)), ("bad", (50, 69)), ("close", (59, 71, 63))):
        runs = [f"{name}{place}" for place in range(3)]
        one.begin(one.ask()[0], *runs)
        for run, score in zip(runs, scores, strict=False):
            said = one.end(run, float(score), {1: 1.0, 2: 2.0})
        assert one.loses(runs[1]) == (name == "bad")
        if name == "bad":
            assert one.runs_beside("bad2") == ("bad0", "bad1", "bad2")
            one.prune("bad2", saved=10)
    assert "held-out top-1 64.33" in said[0]
    assert [(each.state, each.saved) for each in one.tried()] == [("complete", 0), ("pruned", 10), ("complete", 0)]
    assert one.tried()[1].score == 59.5


def test_the_front_has_no_point_that_another_beats_in_all(tmp_path: Path) -> None:
    one = study(tmp_path, costs=("seconds", "epochs"))
    for run, numbers in {"a": (70, 9, 3), "b": (60, 5, 3), "c": (60, 5, 4), "d": (80, 9, 9), "e": (50, 6, 2)}.items():
        one.begin(one.ask()[0], run)
        one.report(run, 1, 5.0)
        one.end(run, numbers[0], {1: 5.0}, numbers[1:])
    one.begin(one.ask()[0], "diverges")
    assert "failed: nan" in one.fail("diverges", "nan")[0]
    assert [each.runs for each in one.front()] == [("d",), ("a",), ("b",), ("e",)]
    assert one.front()[0].costs == {"seconds": 9, "epochs": 9}
    assert one.study.get_trials()[-1].values == [10, 1e12, 1e12]
    assert one.importances()


@pytest.mark.parametrize("name", fast(["tpe", "gp"], "tpe"))
def test_no_point_of_a_finite_space_is_tried_twice(name: str, tmp_path: Path) -> None:
    """Not while it is under way either, nor by the next search; what a machine lost is asked for again."""
    space = parse_space(["T=3:6:1", "rule=energy,reversed,low"])

    def again() -> Study:
        return Study(tmp_path / "study.sqlite", "one", space, 4, partial(sampler, name), "none", (1, 2), TOP1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, found = again(), []
        assert one.propose({"T": 4.0, "rule": "energy"}, "paper")
        for place in range(7):
            trial, fields = one.ask()
            one.begin(trial, f"run{place}")
            found.append(fields)
            if place < 5:  # The best first: both samplers would stay there.
                one.end(f"run{place}", 90.0 - place)
        one.lose("run5", "out of memory")
        one, lost = again(), found[5:]
        for place in range(7):
            trial, fields = one.ask()
            assert not one.exhausted or place == 6
            one.begin(trial, f"again{place}")
            one.end(f"again{place}", 50.0 - place)
            found.append(fields)
    assert found[7:9] == lost
    assert len({str(fields) for fields in found}) == 12
    assert one.exhausted == 12
    assert not study(tmp_path / "endless").exhausted


def test_a_file_that_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"study\.sqlite is no study of this program.*: move it away") as error:
        study(tmp_path)
    assert "\n" not in str(error.value)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The file, by another program that writes it."""
    path = folder / "study.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_another_program_that_writes_the_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study_module.WAIT_SECONDS >= 30
    monkeypatch.setattr(study_module, "WAIT_SECONDS", 0.1)
    tried(study(tmp_path), 1)
    with held(tmp_path), pytest.raises(UserError, match="is being written by another process") as error:
        study(tmp_path)
    assert "move it away" not in str(error.value)
    words = "run the same command again; nothing that was finished is lost"
    with pytest.raises(UserError, match=words) as error, opened(study(tmp_path)) as one, held(tmp_path):
        one.begin(one.ask()[0], "run")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(study_module, "WAIT_SECONDS", 20)
    with opened(study(tmp_path)) as one:
        holding = held(tmp_path)
        holding.__enter__()
        threading.Timer(0.5, lambda: holding.__exit__(None, None, None)).start()
        began = time.monotonic()
        one.begin(one.ask()[0], "run")
        assert time.monotonic() - began > 0.4
        one.end("run", 60.0)
    assert study(tmp_path).counted == 2


def test_a_full_disk_in_the_middle_of_a_search_is_one_line(tmp_path: Path) -> None:
    tried(study(tmp_path), 1)
    words = "the disk is full: make room, then run the same command again; "
    with pytest.raises(UserError, match=words) as error, opened(study(tmp_path)) as one:
        fill_and_try(one)
    assert "\n" not in str(error.value)
    assert study(tmp_path).ask()


def fill_and_try(one: Study) -> None:
    """No further page fits: SQLite's own way to a full disk."""
    engine = one.study._storage._backend.engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "checkout", lambda plain, *_: plain.execute("PRAGMA max_page_count = 1"))
    tried(one, 200)


def test_a_path_that_is_too_long_for_sqlite_is_no_lack_of_rights(tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 505:
        folder /= "a" * min(100, 520 - len(str(folder)))
    with pytest.raises(UserError, match="SQLite opens 504 at most: choose a folder with a shorter path"):
        study(folder)
    with pytest.raises(UserError, match="SQLite opens 504 at most: choose a folder with a shorter path"):
        Ledger.open(folder / "ledger.sqlite")


def test_the_arguments_of_samplers_are_those_of_the_installed_optuna() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert isinstance(sampler("tpe", 0), optuna.samplers.TPESampler)
        assert isinstance(sampler("gp", 0), optuna.samplers.GPSampler)


def test_each_point_of_rules_with_different_numbers_is_tried_once(tmp_path: Path) -> None:
    space = parse_space(["rule=lskd,dtkd", "T=2:4:2", "tau=1:3:1"])
    make = partial(sampler, "tpe", parted=True)
    one = Study(tmp_path / "study.sqlite", "rules", space, 4, make, "none", (1, 2), TOP1)
    assert one.propose({"rule": "lskd", "tau": 2.0}, "published")
    tried(one, 5)
    points = [{"rule": "lskd", "tau": tau} for tau in (2, 1, 3)] + [{"rule": "dtkd", "T": base} for base in (2, 4)]
    assert one.exhausted == 5
    assert all([each.fields for each in one.tried()].count(point) == 1 for point in points)
