"""A search from its command to its end with an engine that trains nothing: what is asked, told, handed out, left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import COMMON, SPACE, Bench, Engine, MachineError, score
from few import fast

from sweeps import search
from sweeps.planning.job_queue import Outcome
from sweeps.searching.points import Search
from trainables.errors import UserError
from trainables.spec import RunSpec, flatten
from trainables.storage.runs import run_dir, stream_key
from trainables.storage.stopping import ask_to_stop, confirm_stop


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path / "results", monkeypatch, capsys)


def test_a_search_goes_on_and_trains_only_what_is_new(bench: Bench) -> None:
    status, engine, said = bench("--trials", "6")
    assert status == 0
    assert [job.kind for job in engine.jobs] == ["teacher", "trials", "trials", "distilled"]
    assert [len(job.specs) for job in engine.jobs[1:3]] == [4, 2]
    assert said.count("held-out top-1") == 6
    status, engine, said = bench("--trials", "8", "--seeds", "2")
    assert status == 0
    assert "6 trials tried, 2 to come" in said
    assert len(engine.trials) == 2
    assert bench.states() == ["COMPLETE"] * 8


def test_a_machines_failure_is_no_trial_and_is_asked_for_by_the_next_search(bench: Bench) -> None:
    broken = []

    def fate(spec: RunSpec) -> float:
        if spec.holdout and not broken:
            broken.append(spec)
            raise MachineError("the disk is full")
        return score(spec)

    status, engine, said = bench("--trials", "8", fate=fate)
    assert status == 1
    assert "failed: 4 runs: the disk is full" in said
    assert len(engine.trials) == 8
    assert bench.states() == ["FAIL"] * 4 + ["COMPLETE"] * 4
    lost = engine.trials[:4]
    status, engine, said = bench("--trials", "8")
    assert status == 0
    assert "4 trials tried, 4 to come" in said
    assert {spec.run_id for spec in engine.trials} == {spec.run_id for spec in lost}
    assert bench.states()[8:] == ["COMPLETE"] * 4
    assert {trial.user_attrs["origin"] for trial in bench.study.get_trials()[8:]} == {"paper", ""}


def test_a_broken_machine_is_not_asked_for_ever(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float:
        if spec.holdout:
            raise MachineError("no CUDA device is visible")
        return score(spec)

    status, engine, said = bench("--trials", "50", "--pack", "2", fate=fate)
    assert status == 1
    assert len(engine.trials) == 6
    assert not engine.finals
    assert "3 jobs failed one after the other" in said
    assert "failed: 6 runs: no CUDA device is visible" in said
    assert bench("--trials", "6", "--pack", "2")[0] == 0


def test_what_diverged_counts_unless_it_is_tried_again(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float | str:
        return "diverged: nan" if spec.holdout and spec.lr != 0.05 else score(spec)

    status, engine, said = bench("--trials", "4", fate=fate)
    assert status == 1
    assert "--retry trains again" in said
    values = [trial.value for trial in bench.study.get_trials()]
    assert values == [90.0, 10.0, 10.0, 10.0]
    again, idle, said = bench("--trials", "4", fate=fate)
    assert (again, idle.jobs) == (0, [])
    bad = {spec.run_id for spec in engine.trials[1:]}
    status, engine, said = bench("--trials", "4", "--retry")
    assert status == 0
    assert {spec.run_id for spec in engine.trials} == bad
    assert "1 trial tried, 3 to come" in said


def test_a_failed_teacher_is_said_to_have_failed_and_is_trained_again_when_asked(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float | str:
        return "diverged: nan" if spec.teacher is None else score(spec)

    status, engine, said = bench("--trials", "4", fate=fate)
    assert (status, len(engine.jobs)) == (1, 1)
    assert "failed   digits-resnet20" in said
    assert "done     digits-resnet20" not in said
    status, engine, said = bench("--trials", "4")
    assert (status, engine.jobs) == (1, [])
    assert "failed: 1 run: diverged: nan" in said
    assert bench("--trials", "4", "--retry")[0] == 0


@pytest.mark.parametrize("most", fast([1, 2, 3], 2))
def test_a_stopped_search_says_so_by_its_exit_status(most: int, bench: Bench) -> None:
    assert bench("--trials", "4", most=most)[0] == 1
    assert "RUNNING" not in bench.states()
    assert bench("--trials", "4")[0] == 0


def test_no_wish_to_stop_outlives_a_pruned_run(bench: Bench) -> None:
    before: list[RunSpec] = []

    def fate(spec: RunSpec) -> float:
        before.append(spec)
        return (20.0 if len(before) > 12 and spec.holdout else 60.0) + spec.lr

    words = ("--trials", "20", "--pruner", "median", "--epochs", "8", "--set", "milestones=2,", "--pack", "1")
    assert "median: 0 of 4 trials pruned, 0 epochs not trained" in bench("--trials", "4", *words[2:])[2]
    status, engine, said = bench(*words, fate=fate)
    assert status == 0
    assert engine.pruned
    assert said.count(" pruned ") == len(engine.pruned)
    assert f"median: {len(engine.pruned)} of 20 trials pruned, " in said
    assert not list(bench.results.glob("runs/*/stop"))


def test_a_job_is_of_one_stream(bench: Bench) -> None:
    words = ("--space", "augmentation=none,crop", "precision=fp32,bf16", "T=3:8")
    status, engine, _ = bench("--trials", "10", *words)
    assert status == 0
    assert {len({stream_key(spec) for spec in job.specs}) for job in engine.jobs} == {1}
    assert len({stream_key(spec) for spec in engine.trials}) > 1
    assert bench.states() == ["COMPLETE"] * 10


def test_the_end_of_the_points_is_said_once(bench: Bench) -> None:
    _, _, said = bench("--trials", "7", "--space", "rule=energy,reversed,low", "--pack", "2")
    assert said.count("all 3 points of --space are tried") == 1


def test_a_run_is_handed_out_once(bench: Bench) -> None:
    status, engine, said = bench("--trials", "7", "--space", "rule=energy,reversed,low", "--pack", "1", wide=3)
    assert status == 0
    assert len({spec.run_id for spec in engine.trials}) == len(engine.trials) == 3
    assert "all 3 points of --space are tried" in said
    assert bench.states() == ["COMPLETE"] * 3
    assert "3 trials tried, 4 to come" in bench("--trials", "7", "--space", "rule=reversed,low,energy")[2]


def test_what_two_points_differ_in_is_shown(bench: Bench) -> None:
    """The direction of the paper and of the released code, where it is not searched."""
    said = bench("--trials", "2", "--space", "T=3:8")[2]
    assert "on the test images: 3 runs of 1 seed\n" in said
    assert f"written: {next(bench.results.glob('search/*/study.sqlite'))}\n" in said
    fields = [one.fields for one in bench.shown[0].finalists]
    assert [each["rule"] for each in fields[:2]] == ["energy", "reversed"]
    assert {tuple(each) for each in fields} == {("T", "rule")}


def test_a_point_that_is_no_run_ends_its_trial(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Search.trial
    asked: list[object] = []

    def trial(self: Search, fields: dict[str, float], *place: Any) -> RunSpec:
        asked.append(fields)
        if fields and 0.06 < fields["lr"] < 0.099:
            raise UserError("not this one")
        return real(self, fields, *place)

    monkeypatch.setattr(Search, "trial", trial)
    status, _, said = bench("--trials", "12")
    assert status == 0
    assert 0 < said.count("failed: not this one") < 12
    assert bench.states() == ["COMPLETE"] * 12
    assert "0 to come" in bench("--trials", "12")[2]


def test_a_stopped_run_that_is_asked_for_anew_is_trained(bench: Bench) -> None:
    status, engine, _ = bench("--trials", "4", most=1)
    first = replace(engine.plans[0].runs["trials"].popitem()[1])
    run_dir(bench.results, first.run_id).mkdir(parents=True, exist_ok=True)
    confirm_stop(bench.results, first.run_id)
    ask_to_stop(bench.results, first.run_id)
    status, engine, _ = bench("--trials", "4")
    assert status == 0
    assert first.run_id in [spec.run_id for spec in engine.trials]


def test_the_plan_has_a_trial_for_the_machines_check(bench: Bench, weights: Path) -> None:
    status, engine, _ = bench("--trials", "2", "--pair", "resnet8/resnet8", "--teachers", str(weights))
    assert status == 0
    assert engine.plans[0].jobs == ()
    assert [spec.holdout for spec in engine.plans[0].all_runs.values()] == [0.1]


def test_trials_and_finals_have_the_papers_point(bench: Bench) -> None:
    _, engine, _ = bench("--trials", "3")
    flat = flatten(engine.trials[0])
    assert (flat["temperature.base"], flat["lr"], flat["holdout"]) == (4, 0.05, 0.1)
    assert {spec.holdout for spec in engine.finals} == {0}


def test_what_is_shown_has_all_trials_and_what_differs_from_the_paper(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float | str:
        return "diverged: nan" if spec.holdout and spec.lr != 0.05 else score(spec)

    bench("--trials", "4", "--trial-epochs", "2", "--set", "weight_decay=0.001", fate=fate)
    (found,) = bench.shown
    assert [(one.state, one.score, one.reason) for one in found.trials[:2]] == [
        ("complete", 90.0, ""),
        ("failed", None, "diverged: nan"),
    ]
    assert len(found.scored) == 1
    assert found.trial_epochs == 2
    assert found.deviations[0] == "data set digits, not the paper's"
    assert found.deviations[-1] == "weight_decay = 0.001"
    assert [one.name for one in found.finalists] == ["Paper's", "Released code's"]
    said = bench("--trials", "6", "--trial-epochs", "2", "--set", "weight_decay=0.001", "--seeds", "2")[2]
    assert "4 trials tried, 2 to come" in said


def test_a_trial_that_the_ledger_answers_says_so(bench: Bench) -> None:
    bench("--trials", "4")
    for path in bench.results.glob("search/*/study.sqlite"):
        path.unlink()
    status, engine, said = bench("--trials", "1")
    assert (status, engine.trials) == (0, [])
    assert "trial 0    held-out top-1 90.00" in said
    (trial,) = bench.study.get_trials()
    assert list(trial.intermediate_values) == [1, 2, 3]


@pytest.mark.slow
def test_a_pruned_run_that_is_proposed_again_is_not_trained_again(bench: Bench) -> None:
    """Of few points (numbers have four digits) many are proposed twice."""

    def fate(spec: RunSpec) -> float:
        return (20.0 if spec.temperature and spec.temperature.base > 3.002 and spec.holdout else 60.0) + spec.lr

    words = (
        "--pruner",
        "median",
        "--epochs",
        "8",
        "--set",
        "milestones=2,",
        "--pack",
        "1",
        "--space",
        "T=3:3.004",
        "r=0.1,0.2",
    )
    status, engine, said = bench(*words, "--trials", "40", fate=fate)
    assert status == 0
    assert engine.pruned
    ids = [spec.run_id for spec in engine.trials]
    assert len(ids) == len(set(ids)) <= 10
    assert said.count(" pruned ") > len(engine.pruned)
    assert bench.states().count("PRUNED") == said.count(" pruned ")


def test_a_search_that_is_told_to_end_with_its_last_trials_goes_no_further(bench: Bench) -> None:
    """All trials were done by then; the runs on the test images are not begun."""

    class Interrupted(Engine):
        def __call__(self, *words: Any, **rest: Any) -> Outcome:
            return replace(super().__call__(*words, **rest), interrupted="stopped by Ctrl-C: ...")

    engine = Interrupted(bench.results)
    bench.patch.setattr("sweeps.running.engine.execute", engine)
    assert search.main([*COMMON, *SPACE, "--results", str(bench.results), "--trials", "4"]) == 1
    assert "to resume: ekd search" in bench.capture.readouterr().err
    assert not engine.finals
    assert bench("--trials", "4")[1].finals


def test_rules_are_searched_by_their_own_numbers_and_each_has_its_best_in_the_table(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float:
        temperature = spec.temperature
        assert temperature is not None
        return {"lskd": 80.0, "normkd": 60.0}.get(temperature.rule, 50.0) + dict(temperature.numbers).get("tau", 0)

    words = ("--row", "temperatures", "--sampler", "tpe", "--trials", "14", "--top", "1")
    space = ("--space", "rule=energy,lskd,normkd,dtkd", "T=2:6", "T+=0:4", "T-=-3:0", "r=0.1:0.4", "tau=1:4")
    status, engine, _ = bench(*space, *words, fate=fate)
    assert status == 0
    has = {"energy": {"T", "T+", "T-", "r"}, "lskd": {"tau"}, "normkd": {"tau"}, "dtkd": {"T"}}
    found = bench.shown[-1]
    assert {frozenset(one.fields) for one in found.trials} == {frozenset({"rule", *each}) for each in has.values()}
    assert {one.fields["rule"] for one in found.trials[:4]} == {*has}
    assert {one.origin for one in found.trials[:4]} == {"published"}
    assert {len(one.params) for one in bench.study.get_trials()} == {2, 5}
    assert [one.fields["rule"] for one in found.finalists[:2]] == ["plain", "lskd"]
    assert {one.fields["rule"] for one in found.finalists[2:]} == {*has} - {"lskd"}
    best = max(float(one.fields["tau"]) for one in found.trials if one.fields["rule"] == "lskd")
    assert found.finalists[1].fields == {"rule": "lskd", "tau": best}
    assert len({spec.run_id for spec in engine.trials}) == 14


def test_the_finalists_of_two_objectives_are_the_front_and_the_papers(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float:
        return round(50.0 + spec.epochs - 100 * abs(spec.lr - 0.05), 4)

    words = ("--objective", "epochs", "top1", "--top", "9", "--space", "epochs=2,4,8", "lr=0.03,0.05")
    status, _, said = bench(*words, "--trials", "6", "--seeds", "2", fate=fate)
    assert status == 0
    assert "held-out top-1 58.00, epochs 8" in said
    found = bench.shown[-1]
    assert found.costs == ("epochs",)
    front = {(one.fields["epochs"], one.fields["lr"]) for one in found.finalists if one.name.startswith("Trial")}
    assert front == {(2, 0.05), (4, 0.05), (8, 0.05)}
    assert [one.name for one in found.finalists[:2]] == ["Paper's", "Released code's"]
    assert {len(one.entries[0]) for one in found.finalists} == {2}
    assert {frozenset(one.fields) for one in found.finalists} == {frozenset({"epochs", "lr", "rule"})}
    assert len(bench.study.directions) == 2


def test_seeds_of_a_trial_are_trained_while_it_may_win(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float:
        return score(spec) + spec.seed

    status, engine, said = bench("--trials", "8", "--trial-seeds", "3", fate=fate)
    assert status == 0
    complete = [trial for trial in bench.study.get_trials() if trial.state.name == "COMPLETE"]
    pruned = [trial for trial in bench.study.get_trials() if trial.state.name == "PRUNED"]
    assert complete[0].value == 92
    assert len(complete) + len(pruned) == 8
    assert pruned
    assert len(engine.trials) == 3 * len(complete) + 2 * len(pruned)
    assert f"wilcoxon: {len(pruned)} of 8 trials pruned, {3 * len(pruned)} epochs not trained" in said
    assert "written" in said
    again = bench("--trials", "8", "--trial-seeds", "3", fate=fate)[1]
    assert again.jobs == []
    for path in bench.results.glob("search/*/study.sqlite"):
        path.unlink()
    status, engine, _ = bench("--trials", "8", "--trial-seeds", "3", "--pruner", "none", fate=fate)
    assert (status, bench.states()) == (0, ["COMPLETE"] * 8)


def test_several_pairs_are_ranked_by_their_mean_gain_over_kd(bench: Bench) -> None:
    def fate(spec: RunSpec) -> float:
        own = 10.0 if spec.student == "resnet20" else 0.0
        rule = spec.temperature.rule if spec.temperature else ""
        return {"plain": 60.0, "energy": 61.0}.get(rule, 59.5) + own

    words = ("--pair", "resnet20/resnet8", "resnet56/resnet20", "--space", "rule=energy,reversed")
    status, engine, said = bench(*words, "--trials", "2", "--pack", "1", fate=fate)
    assert status == 0
    kinds = [(job.kind.value, job.specs[0].treatment.split("-")[0]) for job in engine.jobs]
    assert [kind for kind, _ in kinds[:4]] == ["teacher", "teacher", "trials", "trials"]
    assert {spec.temperature.rule for job in engine.jobs[2:4] for spec in job.specs if spec.temperature} == {"plain"}
    assert [trial.value for trial in bench.study.get_trials()] == [1.0, -0.5]
    assert "held-out gain over KD 1.00" in said
    found = bench.shown[-1]
    assert [one.name for one in found.finalists] == ["KD", "Paper's", "Released code's"]
    assert [len(entries) for entries in found.finalists[0].entries] == [1, 1]
    assert [{*one.fields} for one in found.finalists] == [set(), {"rule"}, {"rule"}]
    assert found.pairs == ("ResNet20/ResNet8", "ResNet56/ResNet20")
