"""The ledger in other formats, and the merge of two: as functions and as a command."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from made_up import result as made_up_result
from made_up import specs_of, write_ledger
from some_results import failed, query, result_of, spec_of, write

from analysis import paper
from analysis.export import csv_bytes, main, merge, parquet_bytes, to_curves, to_frame
from analysis.record.entry import entry_of
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.asked import Asked, asked_for
from trainables.errors import UserError
from trainables.run_names import name_of
from trainables.spec import Mixing, flatten
from trainables.storage.locks import hold_lock
from trainables.storage.runs import has_weights, hash_file, run_dir, write_result

ROOT = Path(__file__).resolve().parents[2]
MIXED = spec_of(2, mixing=Mixing("cutmix", "high", 0.3))
ALONE = spec_of(3, method="vanilla", teacher=None, teacher_source=None, params=())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_a_merge_takes_what_is_new_and_better(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    same, other_weights, only_failed, rescued, lost, new, new_failed = (spec_of(seed) for seed in range(1, 8))
    write(
        ours,
        result_of(same),
        result_of(other_weights),
        failed(only_failed, "ours"),
        failed(rescued),
        result_of(lost),
    )
    write(
        theirs,
        result_of(new),
        failed(new_failed),
        result_of(same),
        result_of(other_weights, weights_sha256="c" * 64, best_top1=99.0),
        failed(only_failed, "theirs"),
        result_of(rescued),
        failed(lost),
    )
    with Ledger.open(theirs) as other:
        other.remember(["table5"], Settings(seeds=2), "theirs")
    before = theirs.read_bytes()
    with Ledger.open(ours) as ledger, Ledger.open(theirs, readonly=True) as other:
        ledger.remember(["table5"], Settings(seeds=1), "ours, asked later")
        done = ledger.merge(other)
        again = ledger.merge(other)
        entries = {entry.spec.seed: entry for entry in ledger.all()}
        sweeps = ledger.sweeps()
        assert ledger.settings_of("table5") == Settings(seeds=1)
    assert (done.added, done.replaced, done.kept, done.conflicts, done.sweeps) == (2, 1, 4, 1, 1)
    assert (again.added, again.replaced, again.kept, again.conflicts, again.sweeps) == (0, 0, 7, 1, 0)
    assert [entries[seed].done for seed in range(1, 8)] == [True, True, False, True, True, True, False]
    assert (entries[2].best_top1, entries[3].reason) == (75.06, "ours")
    assert [sweep.command for sweep in sweeps] == ["theirs", "ours, asked later"]
    assert theirs.read_bytes() == before


def test_a_merge_with_a_damaged_ledger_changes_nothing(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write(ours, result_of(spec_of(1)))
    write(theirs, result_of(spec_of(2)), result_of(spec_of(3)))
    query(theirs, "UPDATE runs SET best_top1 = 101 WHERE seed = 3")
    with Ledger.open(ours) as ledger, Ledger.open(theirs, readonly=True) as other:
        with pytest.raises(UserError, match=f"of the ledger {theirs} is damaged"):
            ledger.merge(other)
        assert [entry.spec.seed for entry in ledger.all()] == [1]


def test_a_merge_with_itself_changes_nothing(path: Path) -> None:
    write(path, result_of(spec_of()), failed(spec_of(2)))
    with Ledger.open(path) as ledger, Ledger.open(path, readonly=True) as other:
        ledger.remember(["table5"], Settings(), "run.py")
        done = ledger.merge(other)
    assert (done.added, done.replaced, done.kept, done.conflicts, done.sweeps) == (0, 0, 2, 0, 0)


def frame() -> pd.DataFrame:
    results = [result_of(spec_of(1)), result_of(MIXED, provenance={"host": ["a", 1], "pack": "two"}), failed(ALONE)]
    return to_frame(map(entry_of, results))


def test_a_frame_has_every_field_and_number() -> None:
    table = frame().set_index("run_id")
    row = table.loc[MIXED.run_id]
    assert {name for spec in (MIXED, ALONE) for name in flatten(spec)} <= set(table.columns)
    assert (row["mixing.rate"], row["params.kd"], row["seed"], row["milestones"]) == (0.3, 0.9, 2, [3])
    assert (row["best_top1"], row["epochs"], row["epochs_finished"]) == (75.06, 4, 4)
    assert (row["treatment"], row["name"]) == ("kd-he_cutmix30", name_of(MIXED))
    assert row["curve"][1] == [2, 0.5, 70.0, 90, 2 / 3]
    assert table.loc[ALONE.run_id, "reason"].startswith("diverged")
    assert table.loc[ALONE.run_id, ["best_top1", "mixing.rate", "params.kd"]].isna().all()


def test_kinds_and_rows_tell_the_runs_apart(tmp_path: Path) -> None:
    table, settings = paper.find("table1"), Settings(pairs=("resnet56/resnet20",), rows=("kd", "takd"), seeds=2)
    write_ledger(tmp_path, [table], settings)
    trial = replace(specs_of(table, settings)[0], holdout=0.1)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(made_up_result(trial, 40.0))
        entries, asked = ledger.all(), asked_for([*ledger.sweeps()], paper.find)
        gone = replace(ledger.sweeps()[0], tables=("gone",))
        assert asked_for([gone, replace(gone, tables=("table1",), settings=Settings("gone"))], paper.find) == Asked()
    found = to_frame(entries, asked).set_index("run_id")
    counts = found["kind"].value_counts().to_dict()
    assert counts == {"distilled": 4, "alone": 2, "teacher": 1, "assistant": 1, "trial": 1}
    assert found.groupby("row").size().to_dict() == {"kd": 2, "takd": 2}
    assert set(found.loc[found["row"].notna(), "kind"]) == {"distilled"}
    assert found.loc[trial.run_id, "kind"] == "trial"
    both = to_frame(entries, replace(asked, alone=frozenset(found.index[found["kind"] == "teacher"])))
    assert "teacher and alone" in set(both["kind"])


def test_curves_are_a_row_an_epoch(tmp_path: Path) -> None:
    shares = [[epoch, 0.2, 0.3, None] for epoch in (1, 2, 3, 4)]
    write(tmp_path / "ledger.sqlite", result_of(spec_of(1), shares=shares), result_of(MIXED), failed(ALONE))
    for name in ("c.csv", "c.parquet"):
        assert main(["--results", str(tmp_path), "--curves", str(tmp_path / name)]) == 0
    found = pd.read_csv(tmp_path / "c.csv")
    columns = (
        "run_id name kind row dataset teacher student seed epochs epoch "
        "train_loss top1 top5 test_loss seconds share_low share_high share_mixed"
    )
    assert list(found.columns) == columns.split()
    one = found[found["run_id"] == spec_of(1).run_id].set_index("epoch")
    assert list(one["train_loss"]) == [1, 1 / 2, 1 / 3, 1 / 4]
    assert tuple(one.loc[4, ["seconds", "share_low", "share_high"]]) == (10.125, 0.2, 0.3)
    assert found[found["run_id"] == MIXED.run_id]["share_low"].isna().all()
    assert len(found) == 8
    assert pd.read_parquet(tmp_path / "c.parquet")["top1"].tolist() == found["top1"].tolist()
    assert to_curves([]).shape == (0, len(found.columns))


def test_provenance_of_several_types_is_text() -> None:
    table = frame()
    assert list(table["provenance.pack"]) == ["9", "two", "9"]
    assert table["provenance.host"][1] == '["a", 1]'


def test_the_columns_do_not_depend_on_which_run_comes_first() -> None:
    entries = [entry_of(result_of(spec)) for spec in (spec_of(1), MIXED, ALONE)]
    assert list(to_frame(entries).columns) == list(to_frame(reversed(entries)).columns)


def test_a_dash_is_standard_output(tmp_path: Path) -> None:
    """Nothing else is written there, and no file of that name."""
    write(tmp_path / "ledger.sqlite", result_of(spec_of(1)), failed(ALONE))
    done = export(tmp_path, "--results", tmp_path, "--csv", "-", "--curves", "a.csv")
    assert list(pd.read_csv(io.StringIO(done.stdout))["status"]) == ["done", "failed"]
    assert "epochs written to a.csv" in done.stderr
    assert not (tmp_path / "-").exists()


def test_csv_is_read_back() -> None:
    table, again = frame(), pd.read_csv(io.BytesIO(csv_bytes(frame())), dtype={"seed": int})
    assert list(again.columns) == list(table.columns)
    assert list(again["best_top1"].dropna()) == list(table["best_top1"].dropna())
    assert csv_bytes(table).count(b",0.30000000000000004,") == 2, "pandas 2 rounds what it reads"
    assert json.loads(again["curve"][0]) == table["curve"][0]
    assert json.loads(again["milestones"][0]) == [3]


def test_parquet_is_read_back() -> None:
    table, again = frame(), pd.read_parquet(io.BytesIO(parquet_bytes(frame())))
    assert list(again.columns) == list(table.columns)
    assert list(again["name"]) == list(table["name"])
    assert list(again["last_loss"].dropna()) == [0.1 + 0.2] * 2
    assert [list(row) for row in again["curve"][0]] == table["curve"][0]


def test_no_runs_are_an_empty_table() -> None:
    empty = to_frame([])
    assert len(empty) == 0
    assert csv_bytes(empty).startswith(b"run_id,name,")
    assert len(pd.read_parquet(io.BytesIO(parquet_bytes(empty)))) == 0


def export(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, from a folder that is not the project's."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess([], status, out.getvalue(), err.getvalue())


def test_the_command_writes_both_formats(tmp_path: Path) -> None:
    write(tmp_path / "ledger.sqlite", result_of(spec_of(1)), failed(ALONE))
    done = export(tmp_path, "--results", tmp_path, "--csv", "a.csv", "--parquet", "a.parquet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 runs written to a.csv\n2 runs written to a.parquet\n"
    assert list(pd.read_csv(tmp_path / "a.csv")["status"]) == ["done", "failed"]
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == 2


def test_the_file_is_a_script(tmp_path: Path) -> None:
    """That finds its packages from another folder."""
    write(tmp_path / "ledger.sqlite", result_of(spec_of(1)))
    command = [sys.executable, str(ROOT / "analysis" / "export.py"), "--results", ".", "--csv", "a.csv"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 run written to a.csv\n", "")


def test_the_command_merges(tmp_path: Path) -> None:
    for name, seeds in (("one", (1, 2)), ("two", (2, 3))):
        write(tmp_path / name, *(result_of(spec_of(seed)) for seed in seeds))
    query(tmp_path / "two", "UPDATE runs SET weights_sha256 = ? WHERE seed = 2", "c" * 64)
    done = export(tmp_path, "--results", "new/folder", "--merge", "one", "--merge", "two", "--csv", "a.csv")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, _ = done.stdout.splitlines()
    assert first.startswith("one: 2 runs added, 0 failed runs replaced, 0 kept, 0 sweeps added; 0 conflicts")
    assert second.startswith("two: 1 runs added, 0 failed runs replaced, 1 kept, 0 sweeps added; 1 conflicts")
    assert list(pd.read_csv(tmp_path / "a.csv")["seed"]) == [1, 2, 3]


def test_a_merge_copies_the_weights_of_teachers_that_it_records(tmp_path: Path) -> None:
    """Not those of students, nor of a run of which this ledger has other weights."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    teacher, conflict, student = (replace(ALONE, seed=1), replace(ALONE, seed=2), spec_of(1))
    results = []
    for spec in (teacher, conflict, student):
        folder = run_dir(theirs, spec.run_id)
        folder.mkdir(parents=True)
        (folder / "weights.pt").write_bytes(spec.run_id.encode())
        results.append(result_of(spec, weights_sha256=hash_file(folder / "weights.pt")))
        write_result(theirs, results[-1])
    write(theirs / "ledger.sqlite", *results)
    ours.mkdir()
    write(ours / "ledger.sqlite", result_of(conflict))
    merge(ours, [theirs / "ledger.sqlite"], news := io.StringIO())
    assert news.getvalue().endswith("weights of 1 teacher copied\n")
    assert [has_weights(ours, spec.run_id) for spec in (teacher, conflict, student)] == [True, False, False]
    merge(ours, [theirs / "ledger.sqlite"], news := io.StringIO())
    assert news.getvalue().endswith("weights of 0 teachers copied\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--results", "good"), "nothing to do: give --csv FILE"),
        (("--results", "good", "--curves", "c.txt"), "name a file that ends in .csv or .parquet"),
        (("--results", "good", "--csv", "a.csv.gz"), "a.csv.gz will be text, and .gz says otherwise"),
        (("--results", "good", "--parquet", "a.csv"), "--parquet a.csv: write it by --csv"),
        (("--results", "good/ledger.sqlite", "--csv", "a.csv"), "good/ledger.sqlite is no folder; name one"),
        (("--cvs", "a.csv"), "unrecognized arguments: --cvs a.csv (see "),
        (("--csv", "a.csv"), "folder results of the ledger does not exist"),
        (("--results", "empty", "--csv", "a.csv"), "there is no ledger empty/ledger.sqlite: run a sweep first"),
        (("--results", "bad", "--csv", "a.csv"), "is no ledger"),
        (("--results", "good", "--csv", "file/a.csv"), "cannot write file/a.csv: file is no folder"),
        (("--results", "good", "--csv", "empty"), "cannot write empty: is a directory"),
        (("--results", "good", "--csv", "."), "cannot write .: is a directory"),
        (("--results", "good", "--csv", "good/ledger.sqlite"), "is a database, and stays as it is: name another file"),
        (("--results", "good", "--csv", "a.csv", "--curves", "a.csv"), "would write the same file: name one for each"),
        (("--results", "good", "--merge", "gone.sqlite"), "there is no ledger gone.sqlite"),
        (("--results", "good", "--merge", "bad/ledger.sqlite"), "is no ledger"),
        (("--results", "file", "--merge", "good/ledger.sqlite"), "cannot write to the results folder file"),
        (("--results", "bad", "--merge", "good/ledger.sqlite"), "is no ledger"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    for name in ("good", "bad", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "bad" / "ledger.sqlite").write_text("run_id")
    write(tmp_path / "good" / "ledger.sqlite", result_of(spec_of()))
    done = export(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    with Ledger.open(tmp_path / "good" / "ledger.sqlite", readonly=True) as ledger:
        assert len(ledger.all()) == 1


def test_no_merge_under_a_running_sweep(tmp_path: Path) -> None:
    write(tmp_path / "other", result_of(spec_of()))
    with hold_lock(tmp_path / "lock", seconds=0):
        done = export(tmp_path, "--results", tmp_path, "--merge", tmp_path / "other")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"another sweep uses {tmp_path} (" in done.stderr
    assert not (tmp_path / "ledger.sqlite").exists()
