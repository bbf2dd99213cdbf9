"""The search command: what it refuses, and (slow) searches of digits: enlarged, killed, pruned, looked at."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest

from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from sweeps import search
from sweeps.searching.points import Search, find_row
from sweeps.searching.space import parse_space
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import flatten

ROOT = Path(__file__).parents[2]
COMMON = ("--pair", "resnet20/resnet8", "--dataset", "digits", "--gpus", "0", "--train-fraction", "0.3")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--row", "nothing"], "unknown row 'nothing' in --row: use one of"),
        (["--row", "energykd"], "unknown row 'energykd' in --row: did you mean energy_kd or"),
        (["--row", "weights"], "'weights' in --row: a table, of which one row is searched: kd_w0.9,"),
        (["--row", "lskd_w9", "--space", "T=2:6"], "T = 2.0 would change nothing in a run of lskd_w9"),
        (["--row", "rld", "--space", "params.nothing=1:2"], "rld has no params.nothing"),
        (["digits"], "unknown word digits: --results takes one DIR"),
        (["--image-size", "48"], "--image-size 48: the images of digits have a fixed size"),
        (["--space", "T=8:2"], "8 is not below 2"),
        (["--space", "params.beta=1:2"], "a run of the row energy_kd has no params.beta"),
        (["--row", "kd", "--space", "T+=0:1"], r"T\+ = .* would change nothing in a run of kd"),
        (["--row", "takd", "--space", "T=2:8"], "takd has an assistant"),
        (["--space", "T=2:8"], r"--space T=2:8: T \+ T- = 0 must be above 0.*; begin T above 2, or search T- too"),
        (["--holdout", "1"], "must be above 0 and below 1"),
        (["--pruner", "asha", "--sampler", "gp"], "learns from trials that ended only"),
        (["--pruner", "median", "--epochs", "4"], "--pruner median judges a trial after epoch 4 at the earliest"),
        (["--pruner", "median", "--objective", "top1", "seconds"], "Optuna prunes by one objective only$"),
        (["--pruner", "wilcoxon", "--trial-seeds", "2"], "compares the runs of a trial, 3 or more: add --trial-seeds"),
        (["--objective", "seconds"], "add top1; the others are costs"),
        (["--objective", "top1", "flops"], r"flops: all trials would have the same; vary it: --space student=A,B"),
        (["--objective", "top1", "--objective", "seconds"], "--objective is given twice"),
        (["--space", "student=resnet8,resnet2o"], "unknown network 'resnet2o' in --space student"),
        (["--trials", "0"], "must be a whole number, 1 or more"),
        (["--pair", "resnet20"], "--pair is given twice"),
        (["--tirals", "3"], "did you mean --trials"),
        (["--plan"], "unknown option --plan: it is of ekd run"),
        (["--row", "energy_kd+at"], "a sum of two rows is of ekd run ablation"),
        (["--set", "seed=3"], "seed cannot be overridden"),
        (["--set", "holdout=0.2"], "holdout cannot be overridden"),
        (["--set", "temperature.base=5"], r"temperature.base=5: it is searched \(T=2:8\)"),
        (["--space", "rule=energy,plain,reversed", "T+=0:4"], "a plain temperature has no plus"),
        (["--space", "augmentation=crop,nothing,none"], "unknown augmentation 'nothing'"),
        (["--space", "epochs=4:12"], "epochs takes whole numbers only: write epochs=4:12:2"),
        (["--space", "epochs=4:12:0.5"], "epochs takes whole numbers only"),
        (["--space", "batch_size=32,48.5"], "batch_size takes whole numbers only"),
        (["--row", "kd", "--set", "temperature.rule=lskd", "--space", "lr=0.01:0.1"], "given: T; T=0 takes T away$"),
        (["--row", "temperatures", "--sampler", "gp"], "rules differ in theirs: take tpe"),
        (["--row", "temperatures", "--space", "rule=lskd,dtkd", "T=2:6"], "the temperature rule lskd takes tau"),
        (["--row", "temperatures", "--space", "rule=lskd,ttm", "tau=1:2", "gamma=0.1:1", "T+=0:1"], "has no .*plus"),
        (["--row", "temperatures", "--space", "rule=lskd,dtkt", "tau=1:2"], "'dtkt' .did you mean dtkd"),
        (["--holdout", "0.001"], "leaves no image to score"),
    ],
)
def test_bad_words_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        search.main([*COMMON, "--results", str(tmp_path / "results"), *words])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


def test_trials_and_finalists() -> None:
    space = parse_space(["T=2:8", "T-=-4:0", "lr=0.01:0.1:log"])
    found = Search(Settings(dataset="digits"), (Pair("resnet20", "resnet8"),), find_row("energy_kd"), space, 0.1, 4)
    found.check()
    fields = {"T": 5.0, "T-": -3.0, "lr": 0.02}
    trial, finalist = found.trial(fields), found.finalist(fields, 2)
    for spec in (trial, finalist):
        flat = flatten(spec)
        assert (flat["temperature.base"], flat["temperature.minus"], flat["lr"]) == (5, -3, 0.02)
    assert (trial.holdout, trial.epochs, trial.seed) == (0.1, 4, 1)
    assert (finalist.holdout, finalist.epochs, finalist.seed) == (0, 12, 2)
    assert trial.teacher_source == finalist.teacher_source
    assert found.trial_of(finalist) == trial
    assert found.known_points() == {"paper": {"T": 4, "T-": -2, "lr": 0.05}, "released code": None}
    reverse = found.trial_of(found.known_runs()["released code"](1))
    assert reverse != found.trial_of(found.known_runs()["paper"](1))
    assert reverse.holdout == 0.1
    assert found.known_runs()["released code"](1).temperature.rule == "reversed"  # type: ignore[union-attr]


@pytest.mark.medium
def test_a_reader_that_leaves_and_a_second_ctrl_c_cause_no_traceback() -> None:
    code = "from sweeps.search import resumable; from trainables.commands import run_command\ndef main(argv):\n"
    code += "    with resumable('search.py', argv): return {}\nraise SystemExit(run_command(main, []))"
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", code.format("print('x' * 9) or 0")]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    command = [sys.executable, "-c", code.format("(_ for _ in ()).throw(KeyboardInterrupt)")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.endswith("to resume: ekd search\n")


def run(results: Path, *words: str) -> str:
    command = [sys.executable, "sweeps/search.py", *COMMON, "--results", str(results), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def held_out(results: Path) -> list[str]:
    with Ledger.open(results / "ledger.sqlite", readonly=True) as ledger:
        return [entry.run_id for entry in ledger.all() if entry.spec.holdout]


def studied(results: Path) -> optuna.Study:
    (path,) = results.glob("search/*/study.sqlite")
    (name,) = optuna.get_all_study_names(f"sqlite:///{path}")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    results = tmp_path_factory.mktemp("search") / "results"
    short = ("--epochs", "3", "--seeds", "2", "--top", "2")
    return results, run(results, *short, "--trials", "6"), run(results, *short, "--trials", "8")


@pytest.mark.slow
def test_an_enlarged_search_trains_only_what_is_new(searched: tuple[Path, str, str]) -> None:
    results, first, second = searched
    assert [first.count("held-out top-1"), second.count("held-out top-1")] == [6, 2]
    assert len(held_out(results)) == 8
    assert "Paper's" in second
    assert "Released code's" in second
    trials = studied(results).get_trials()
    assert [json.loads(trial.user_attrs["fields"])["rule"] for trial in trials[:2]] == ["energy", "reversed"]
    (folder,) = (results / "search").iterdir()
    for name in ("table.tex", "table.md", "trials.csv", "history.pdf", "slices.png", "parallel.pdf"):
        assert (folder / name).stat().st_size > 100, name


@pytest.mark.slow
def test_the_dashboard_opens_the_study(searched: tuple[Path, str, str]) -> None:
    (path,) = searched[0].glob("search/*/study.sqlite")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), f"sqlite:///{path}", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dashboard:
        try:
            for _ in range(120):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                        found = json.load(answer)
                    break
                except OSError:
                    time.sleep(0.5)
        finally:
            dashboard.terminate()
    assert [study["study_name"] for study in found["study_summaries"]] == [path.parent.name]


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    words = ("--epochs", "4", "--seeds", "1", "--top", "1", "--trials", "8")
    command = [sys.executable, "sweeps/search.py", *COMMON, "--results", str(tmp_path), *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            if line.startswith("trial 2"):
                os.kill(driver.pid, signal.SIGKILL)
                break
    before = held_out(tmp_path)
    told = [trial for trial in studied(tmp_path).get_trials() if trial.state.name == "COMPLETE"]
    after = run(tmp_path, *words)
    trials = studied(tmp_path).get_trials()
    assert not [trial for trial in trials if trial.state.name in ("RUNNING", "WAITING")]
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(complete) == 8
    runs = held_out(tmp_path)
    assert sorted({trial.user_attrs["run"] for trial in complete}) == sorted(runs)
    assert runs[: len(before)] == before
    assert complete[: len(told)] == told
    assert after.count("held-out top-1") == 8 - len(told)
    assert f"{len(told)} trials tried, {8 - len(told)} to come" in after
    assert "runs done, 0 failed, 0 not run" in after


@pytest.mark.slow
def test_pruned_trials_are_told_as_pruned_and_are_no_runs_of_the_ledger(tmp_path: Path) -> None:
    space = ("--space", "lr=0.0001:0.1:log", "T=3:8")
    early = ("--epochs", "24", "--set", "milestones=2,20")
    said = run(tmp_path, *early, "--seeds", "1", "--top", "1", "--trials", "14", "--pruner", "median", *space)
    trials = studied(tmp_path).get_trials()
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert pruned
    assert said.count(" pruned ") == len(pruned)
    assert not {trial.user_attrs["run"] for trial in pruned} & set(held_out(tmp_path))
    assert all(max(trial.intermediate_values) >= 3 for trial in pruned)
