"""The command line: what is refused and how, and one small sweep from nothing to its table."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import ONE_CELL, SMALL, Command, refused, settings
from plans import plan_of

from analysis import paper
from analysis.record.ledger import Ledger
from sweeps.request.checks import check_writable
from trainables.errors import UserError
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.storage.locks import hold_driver_lock
from trainables.storage.runs import run_dir

SCRIPT = Path(__file__).resolve().parents[2] / "sweeps" / "run.py"

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "name a table, for example table5"),
        (["tabel5"], "unknown table 'tabel5': did you mean table5 or "),
        (["table99"], "unknown table 'table99': did you mean table9 or table1 or table2? (--list shows all)"),
        (["xyzzy"], "unknown table 'xyzzy': use one of direction, figure3, figure4"),
        (["table5", "--teachers", "a", "b"], "unknown table 'b': --teachers takes one DIR|FILE"),
        (["table5", "--dataset", "digits", "imagenet"], "unknown table 'imagenet': --dataset takes one NAME"),
        (["table5", "--seeds", "2", "tabel1"], "unknown table 'tabel1': did you mean table1"),
        (["table5", "--image-size", "48"], "--image-size is of your own images: add --dataset imagefolder"),
        (["table8", "--imbalance", "abc"], "argument --imbalance: must be above 0 and at most 1, not 'abc'"),
        (["table8", "--imbalance", "0"], "argument --imbalance: must be above 0 and at most 1, not '0'"),
        (["table3", "--plan", "--gpus", "2", "--gpus-per-job", "4"], "--gpus-per-job 4: the sweep has 2 GPUs"),
        (["table3", "--plan", "--gpus", "0", "--gpus-per-job", "999"], "--gpus-per-job 999: the sweep has "),
        (["table5", "--plan", "--gpus-per-job", "1.5"], "--gpus-per-job 1.5 must be a share in (0, 1] or a whole"),
        (["table5", "--plan", "--gpus-per-job", "0"], "argument --gpus-per-job: must be a number above 0, not '0'"),
        (["table5", "--dataset", "cifar"], "unknown data set 'cifar': did you mean cifar10"),
        (["table5", "--rows", "kd_heda_20"], "unknown row 'kd_heda_20': did you mean kd_he_da_20"),
        (["table5", "--rows", "kd,dkd"], "unknown row 'kd,dkd': write kd dkd, with spaces"),
        (["mine.tml"], "unknown table 'mine.tml': the file of an experiment ends in .toml"),
        (["table5", "--batch_size", "8"], "unknown option --batch_size: did you mean --batch-size?"),
        (["table5", "--rows", "xyzzy"], "unknown row xyzzy: table5 has dkd, dkd_cutmix"),
        (["table5", "--pairs", "resnet56"], "pair 'resnet56' should be TEACHER/STUDENT"),
        (["table5", "--pairs", "resnet56/resnet21"], "unknown network 'resnet21' in --pairs: did you mean"),
        (["table5", "--pairs", "xyzzy/resnet20"], "unknown network 'xyzzy' in --pairs: use one of resnet8, "),
        (["table5", "--epoch", "3"], "unknown option --epoch: did you mean --epochs?"),
        (["table5", "--lr", "0.1"], "unknown option --lr: write --set lr=VALUE"),
        (["table5", "--weight-decay=0"], "unknown option --weight-decay=0: write --set weight_decay=VALUE"),
        (["table5", "--watch", "8321", "8322"], "'8322': --watch takes one PORT"),
        (["table5", "--device", "cpu"], "unknown option --device: --gpus 0 trains on the CPU"),
        (["table5", "--set", "T=−3"], "temperature T = -3 must be above 0"),
        (["table5", "--epochs", "0"], "argument --epochs: must be a whole number, 1 or more, not '0'"),
        (["table5", "--seeds", "x"], "argument --seeds: must be a whole number, 1 or more, not 'x'"),
        (["table5", "--batch-size", "1"], "argument --batch-size: must be a whole number, 2 or more"),
        (["table5", "--train-fraction", "1.5"], "argument --train-fraction: must be above 0 and at most 1"),
        (["table5", "--train-fraction", "nan"], "argument --train-fraction: must be above 0 and at most 1"),
        (["table5", "--precision", "fp16"], "argument --precision: invalid choice: 'fp16'"),
        (["table5", "--gpus", "-1"], "argument --gpus: must be a whole number, 0 or more, or all, not '-1'"),
        (["table5", "--gpus-per-job", "0"], "argument --gpus-per-job: must be a number above 0, not '0'"),
        (["table5", "--pack", "0"], "argument --pack: must be a whole number, 1 or more, not '0'"),
        (["table5", "--results", ""], "argument --results: is empty: name a path"),
        (["table5", "--json"], "--json goes with --plan"),
        (["table5", "--set", "lr"], "'lr' should be FIELD=VALUE"),
        (["table5", "--set", "lr=-1"], "--set lr=-1: learning rate -1 must be above 0"),
        (["table5", "--set", "lr=fast"], "--set lr=\"fast\": 'fast' should be of type float"),
        (["table5", "--set", "student=vgg8"], "student cannot be overridden"),
        (["table5", "--set", "teacher_source=x"], "teacher_source cannot be overridden"),
        (["table5", "--set", "timing=true"], "timing cannot be overridden"),
        (["table5", "--set", "holdout=0.1"], "holdout cannot be overridden"),
        (["table5", "--set", "color=red"], "unknown field 'color' of a run: use one of"),
        (["table5", "--plan", "--results", "/dev/null"], "/dev/null is a pipe, a socket or a device; choose --results"),
        (["table5", "--teachers", "nowhere"], "nowhere: there is no such file or folder"),
        (["table5", "--set", "epochs=3"], "--set epochs: use --epochs, which also holds for the teachers"),
        (["table5", "--set", "params.gamma=1"], "--set params.gamma=1: no run of table5 would change"),
        (["table5", "--set", "temperature.plus=1"], "--set temperature.plus=1: no run of table5 would change"),
        (["table4", "--set", "temperature.minus=-4"], "T + T- = 0 must be above 0: raise T (4) or T- (-4)"),
        (["table4", "--set", "temperature.rule=reversed"], "--rows can leave out rows without such a rule"),
        (["table4", "--set", "temperature.rate=0"], "the energy rate r = 0 must be in (0, 1]"),
        (["table5", "--set", "mixing.rate=0"], "the augmentation rate 0 must be in (0, 1]"),
        (["table5", "--set", "mixing.rate=1.01"], "the augmentation rate 1.01 must be in (0, 1]"),
        (["table4", "--set", "temperature.values=6,5,0"], "every temperature of a gradation must be above 0, not 0"),
        (["table5", "--address", "host:1"], "--address: say how many of the cluster's GPUs"),
        (["table7", "--epochs", "1", "--gpus", "0"], "table7 measures seconds per epoch without the first"),
    ],
)
def test_bad_words_are_refused_in_one_line(command: Command, argv: list[str], complaint: str) -> None:
    assert complaint in refused(command, *argv)


@pytest.mark.parametrize("name", ["runs", "jobs", "tables"])
def test_a_file_in_the_place_of_a_folder_is_told_before_training(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{tmp_path / name} is no folder, and a sweep writes below it"):
        check_writable(tmp_path)


def test_a_results_folder_that_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    for results in (pipe, pipe / "results"):
        with pytest.raises(UserError, match=f"{results}: {pipe} is a pipe, a socket or a device; choose --results"):
            check_writable(results)


@needs_no_gpu
@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--gpus", "8"], "--gpus 8: this machine has no GPU that PyTorch can use; --gpus 0 runs on the CPU"),
        ([], "found no GPU that PyTorch can use: --gpus 0 trains on the CPU"),
        (["--gpus", "0", "--cpus-per-job", "4096"], "a job asks for 4096 CPUs, but there are"),
    ],
)
def test_resources_that_are_not_there(command: Command, argv: list[str], complaint: str) -> None:
    assert complaint in refused(command, *ONE_CELL, *argv)


@pytest.mark.parametrize("mode", ["--plan", "--retry"])
def test_a_training_set_that_cannot_be_made(command: Command, mode: str) -> None:
    """The same line from the plan and from the sweep, which has not begun."""
    complaint = refused(command, "table8", "--dataset", "digits", "--imbalance", "0.001", "--gpus", "0", mode)
    assert complaint == "error: the imbalance 0.001 leaves class 7 of 0 to 9 no training image: use a larger one\n"


def test_missing_data(command: Command, tmp_path: Path) -> None:
    assert f"{tmp_path}/data has no CIFAR-100: add --download" in refused(command, "table5", "--gpus", "0")
    own = ("table5", "--dataset", "imagefolder", "--data-dir", "mine", "--gpus", "0")
    assert f"{tmp_path}/mine is no folder: own images are train/CLASS/*.png" in refused(command, *own)


def test_half_copied_data(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    (folder / "train").write_bytes(b"\x80\x02}q\x01")
    assert "lacks the file 'test'" in refused(command, "table5", "--gpus", "0")
    (folder / "test").write_bytes(b"")
    assert "is not CIFAR-100's" in refused(command, "table5", "--gpus", "0")


def test_half_copied_parquet(command: Command, ekd_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for file in (ekd_data / "data" / "cifar100").glob("*.parquet"):
        (folder / file.name).write_bytes(file.read_bytes()[: 2**20])
    assert "is truncated or damaged" in refused(command, "table5", "--gpus", "0")


def test_given_weights_that_do_not_fit(command: Command, tmp_path: Path, weights: Path) -> None:
    other = tmp_path / "resnet14.pth"
    torch.manual_seed(0)
    save_weights(build("resnet14", 10), other)
    for ask in ((), ("--plan",)):
        misfit = refused(command, *SMALL, "--teachers", other, *ask)
        assert "does not fit resnet8: layer1.1.conv1.weight is unexpected" in misfit
    cifar = ("table5", "--pairs", "resnet8/resnet8", "--gpus", "0", "--teachers", weights)
    assert "is a resnet8 of 10 classes, and 100 are needed" in refused(command, *cifar)
    truncated = tmp_path / "truncated.pth"
    truncated.write_bytes(weights.read_bytes()[:-1000])
    assert "is no whole PyTorch checkpoint (truncated" in refused(command, *SMALL, "--teachers", truncated)
    text = tmp_path / "text.pth"
    text.write_text("resnet8")
    assert "is no PyTorch checkpoint" in refused(command, *SMALL, "--teachers", text)
    missing = refused(command, *SMALL, "--teachers", tmp_path / "nothing.pth")
    assert "there is no such file or folder" in missing


def test_unwritable_results(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    complaint = refused(command, *SMALL, "--results", tmp_path / "file" / "results")
    assert f"cannot write to the results folder {tmp_path}/file/results: {tmp_path}/file is a file" in complaint


def test_a_ledger_of_a_newer_schema_and_a_corrupt_one(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "results" / "ledger.sqlite"
    path.parent.mkdir()
    with Ledger.open(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for more in ((), ("--plan",)):
        assert "written by a newer version" in refused(command, *SMALL, *more)
        path.write_bytes(b"not a ledger at all, but long enough to have a header" * 4)
        assert "is no ledger of this program" in refused(command, *SMALL, *more)
        with Ledger.open(path.with_name("new")):
            pass
        path.write_bytes(path.with_name("new").read_bytes())
        with sqlite3.connect(path) as again:
            again.execute("PRAGMA user_version = 99")
        again.close()


def test_a_result_that_cannot_be_read(command: Command, tmp_path: Path) -> None:
    spec = next(iter(plan_of([paper.find("table5")], settings(), {}, pack=None).all_runs.values()))
    folder = run_dir(tmp_path / "results", spec.run_id)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{")
    assert f"delete {folder} to train that run again" in refused(command, *SMALL)


def test_the_second_driver_is_refused_before_anything_is_loaded(command: Command, tmp_path: Path) -> None:
    with hold_driver_lock(tmp_path / "results"):
        assert "another sweep uses" in refused(command, "table5", "--gpus", "0")


def script(*argv: str, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.argv = {['run.py', *argv]!r}; sys.path.insert(0, {str(SCRIPT.parents[1])!r})\n{before}\n"
        "from sweeps.run import main\n"
        "from trainables.commands import run_command\n"
        "status = run_command(main)\n"
        "print('loaded', *sorted({'torch', 'ray'} & set(sys.modules)))\n"
        "sys.exit(status)"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("argv", [("tabel5",), ("table5", "--set", "lr=0"), ("table5", "--rows", "x"), ("--help",)])
def test_mistakes_and_help_need_no_torch(tmp_path: Path, argv: tuple[str, ...]) -> None:
    done = script(*argv, cwd=tmp_path)
    assert done.returncode == (0 if argv == ("--help",) else 2)
    assert "torch" not in done.stdout.splitlines()[-1]


def test_a_reader_that_leaves_causes_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], cwd=tmp_path, stdout=writing, stderr=-1, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_script_itself_runs_from_another_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "tabel5"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown table 'tabel5'")


def test_a_small_sweep_and_the_same_again(tmp_path: Path) -> None:
    """A teacher (here the untaught student too) and its student, on real images. Then nothing is left to do."""
    first = subprocess.run(
        [sys.executable, str(SCRIPT), *SMALL], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    lines = first.stdout.splitlines()
    assert lines[0] == "1 cell: 2 runs, 0 done, 2 to train in 2 jobs"
    assert sum(line.startswith("done     digits-resnet8") for line in lines) == 2
    assert lines[-1] == "2 runs done, 0 failed, 0 not run"
    log = (tmp_path / "results" / "sweep.log").read_text(encoding="utf-8").splitlines()
    assert "python sweeps/run.py table5 --dataset digits" in log[1]
    assert log[2:] == [line for line in lines if not line.startswith("loaded")]
    tables = tmp_path / "results" / "tables"
    assert {path.suffix for path in tables.iterdir()} == {".tex", ".md", ".csv", ".html", ".png", ".pdf", ".json"}
    with Ledger.open(tmp_path / "results" / "ledger.sqlite", readonly=True) as ledger:
        entries = {entry.run_id: entry for entry in ledger.all()}
        assert ledger.settings_of("table5") == settings()
    assert len(entries) == 2
    assert all(entry.provenance["command"].startswith("python sweeps/run.py table5 ") for entry in entries.values())

    again = script(*SMALL, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-2:] == ["2 runs done, 0 failed, 0 not run", "loaded"]
    assert "1 cell: 2 runs, 2 done, nothing left to train" in again.stdout
    with Ledger.open(tmp_path / "results" / "ledger.sqlite", readonly=True) as ledger:
        assert {entry.run_id: entry for entry in ledger.all()} == entries
