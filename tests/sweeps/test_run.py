"""The command line: what is refused and how, the plan, the listing, and one small sweep from nothing to its table."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_job import result
from PIL import Image

from analysis import paper
from analysis.ledger import Ledger
from analysis.settings import Settings
from sweeps.arguments import parse
from sweeps.lock import driver_lock
from sweeps.plan import asked_runs, make_plan
from sweeps.request import make_request
from sweeps.run import guarded
from trainables.data import load
from trainables.errors import exit_status
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.runs import run_dir, weights_path, write_result

SCRIPT = Path(__file__).resolve().parents[2] / "sweeps" / "run.py"
ONE_CELL = ("table5", "--dataset", "digits", "--pairs", "resnet8/resnet8", "--rows", "kd", "--seeds", "1")
SMALL = (*ONE_CELL, "--epochs", "1", "--train-fraction", "0.05", "--gpus", "0")
Command = Callable[..., tuple[int, str, str]]

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in an empty folder, in this process: status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> tuple[int, str, str]:
        status = exit_status(partial(guarded, [str(word) for word in argv]), debug=False)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its hash; a lock's text is no content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def refused(command: Command, *argv: object) -> str:
    """The one line that a command ends with, having changed nothing."""
    before = contents(Path.cwd())
    status, out, err = command(*argv)
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert contents(Path.cwd()) == before
    return err


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "name a table, for example table5"),
        (["tabel5"], "unknown table 'tabel5': there is table5,"),
        (["table5", "--dataset", "cifar"], "unknown data set 'cifar': did you mean cifar100"),
        (["table5", "--rows", "kd_heda_20"], "unknown row 'kd_heda_20': did you mean kd_he_da_20"),
        (["table5", "--rows", "xyzzy"], "unknown row xyzzy: table5 has dkd, dkd_cutmix"),
        (["table5", "--pairs", "resnet56"], "pair 'resnet56' should be TEACHER/STUDENT"),
        (["table5", "--pairs", "resnet56/resnet21"], "unknown network 'resnet21' in --pairs: did you mean"),
        (["table5", "--pairs", "xyzzy/resnet20"], "unknown network 'xyzzy' in --pairs: use one of resnet8, "),
        (["table5", "--epoch", "3"], "unknown option --epoch: did you mean --epochs?"),
        (["table5", "--epochs", "0"], "argument --epochs: must be a whole number, 1 or more, not '0'"),
        (["table5", "--seeds", "x"], "argument --seeds: must be a whole number, 1 or more, not 'x'"),
        (["table5", "--batch-size", "1"], "argument --batch-size: must be a whole number, 2 or more"),
        (["table5", "--train-fraction", "1.5"], "argument --train-fraction: must be above 0 and at most 1"),
        (["table5", "--train-fraction", "nan"], "argument --train-fraction: must be above 0 and at most 1"),
        (["table5", "--precision", "fp16"], "argument --precision: invalid choice: 'fp16'"),
        (["table5", "--gpus", "-1"], "argument --gpus: must be a whole number, 0 or more, not '-1'"),
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
        (["table5", "--set", "color=red"], "unknown field 'color' of a run: use one of"),
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


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet8.pth"
    torch.manual_seed(0)
    save_weights(build("resnet8", 10), path)
    return path


def test_given_weights_that_do_not_fit(command: Command, tmp_path: Path, weights: Path) -> None:
    other = tmp_path / "resnet14.pth"
    torch.manual_seed(0)
    save_weights(build("resnet14", 10), other)
    assert "does not fit resnet8: layer1.1.conv1.weight is unexpected" in refused(command, *SMALL, "--teachers", other)
    cifar = ("table5", "--pairs", "resnet8/resnet8", "--gpus", "0", "--teachers", weights)
    assert "is a resnet8 of 10 classes, and 100 are needed" in refused(command, *cifar)
    truncated = tmp_path / "truncated.pth"
    truncated.write_bytes(weights.read_bytes()[:-1000])
    assert "is no whole PyTorch checkpoint (truncated" in refused(command, *SMALL, "--teachers", truncated)
    text = tmp_path / "text.pth"
    text.write_text("resnet8")
    assert "is no PyTorch checkpoint" in refused(command, *SMALL, "--teachers", text)
    missing = refused(command, *SMALL, "--teachers", tmp_path / "nothing.pth")
    assert "cannot read the teacher's weights" in missing


def test_unwritable_results(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    complaint = refused(command, *SMALL, "--results", tmp_path / "file" / "results")
    assert f"cannot write to the results folder {tmp_path}/file/results: {tmp_path}/file is a file" in complaint


def test_a_ledger_of_a_newer_schema_and_a_corrupt_one(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "results" / "ledger.sqlite"
    path.parent.mkdir()
    Ledger.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for more in ((), ("--plan",)):
        assert "written by a newer version" in refused(command, *SMALL, *more)
        path.write_bytes(b"not a ledger at all, but long enough to have a header" * 4)
        assert "is no ledger of this program" in refused(command, *SMALL, *more)
        Ledger.open(path.with_name("new")).close()
        path.write_bytes(path.with_name("new").read_bytes())
        with sqlite3.connect(path) as again:
            again.execute("PRAGMA user_version = 99")
        again.close()


def test_a_result_that_cannot_be_read(command: Command, tmp_path: Path) -> None:
    spec = next(iter(make_plan([paper.find("table5")], settings(), {}, pack=None).all_runs.values()))
    folder = run_dir(tmp_path / "results", spec.run_id)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{")
    assert f"delete {folder} to train that run again" in refused(command, *SMALL)


def test_the_second_driver_is_refused_before_anything_is_loaded(command: Command, tmp_path: Path) -> None:
    with driver_lock(tmp_path / "results"):
        assert "another sweep uses" in refused(command, "table5", "--gpus", "0")


def settings() -> Settings:
    """Those of SMALL."""
    pairs, rows = ("resnet8/resnet8",), ("kd",)
    return Settings(dataset="digits", pairs=pairs, rows=rows, seeds=1, epochs=1, train_fraction=0.05)


def test_the_plan_of_table5(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.estimate._measure", no_measuring)
    status, out, err = command("table5", "--plan", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert out.count("\n") == 1
    assert found["cells"] == 54
    assert found["runs"] == {"distilled": 162, "vanilla": 18, "teacher": 4}
    assert found["done"] == 0
    assert found["jobs"] >= 22
    assert found["device_hours"] > 0
    assert found["disk_bytes"] > 0
    assert not list(tmp_path.iterdir())


def no_measuring(specs: list, *_: object) -> dict:
    from sweeps.estimate import Cost, _work

    networks = {(spec, network) for spec in specs for network in (spec.student, spec.teacher) if network}
    return {_work(spec, network): Cost(0.1, 0.001, 10**6) for spec, network in networks}


def test_shared_cells_count_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """KD stands in three tables; Table 4's two parts share three columns of Energy KD: 54 + 6 + 6 + 30 cells."""
    monkeypatch.setattr("sweeps.estimate._measure", no_measuring)
    _, out, _ = command("table5", "table4", "table13", "--plan", "--json")
    found = json.loads(out)
    assert found["cells"] == 54 + (6 + 12 - 4 - 2) + (36 - 6)
    assert found["runs"]["distilled"] == 3 * found["cells"]
    assert (
        json.loads(command("table13", "table5", "table4", "table5", "--plan", "--json")[1])["cells"] == found["cells"]
    )


def test_the_plan_for_people(command: Command, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.estimate._measure", no_measuring)
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "resnet8_best.pth").write_bytes(weights.read_bytes())
    pairs = ("--pairs", "resnet8/resnet8", "resnet20/resnet8")
    _, out, _ = command("table5", "--dataset", "digits", *pairs, "--plan", "--teachers", "teachers")
    assert "Table 5: HE-DA on KD and DKD, on digits, 3 seeds" in out
    assert "teacher resnet8 is given: " in out
    assert "teacher resnet20 will be trained first" in out
    assert "18 cells in 1 table" in out
    assert "all rows: epochs 12, lr 0.05" in out
    assert "on one device like this" in out


def own_images(folder: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed)
    for split, name in product(("train", "val"), ("cat", "dog")):
        (folder / split / name).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            image = Image.fromarray(pixels.integers(256, size=(24, 20, 3), dtype=np.uint8))
            image.save(folder / split / name / f"{number}.png")


def test_own_images_are_part_of_a_runs_identity(command: Command, tmp_path: Path) -> None:
    own_images(tmp_path / "mine", 1)
    words = ("table5", "--dataset", "imagefolder", "--data-dir", "mine", "--pairs", "resnet8/resnet8", "--rows", "kd")
    first = make_request(parse(words))
    assert first.settings.data == load("imagefolder", tmp_path / "mine").fingerprint[:16]
    assert make_request(parse(words)) == first
    own_images(tmp_path / "mine", 2)
    second = make_request(parse(words))
    assert second.settings.data != first.settings.data
    ids = [asked_runs(request.tables, request.settings) for request in (first, second)]
    assert not set(ids[0]) & set(ids[1])
    assert "there is nothing to --download" in refused(command, *words, "--gpus", "0", "--download")


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("temperature.values=6,5.5,5,4.5,4,4,3.5,3,2.5,2", ("temperature.values", "[6,5.5,5,4.5,4,4,3.5,3,2.5,2]")),
        ("temperature.values=[6, 5, 2]", ("temperature.values", "[6,5,2]")),
        ("temperature.rule=reversed", ("temperature.rule", '"reversed"')),
        ("milestones=100,", ("milestones", "[100]")),
        ("lr=1e-1", ("lr", "0.1")),
    ],
)
def test_overrides_are_stored_as_json(said: str, stored: tuple[str, str]) -> None:
    rows = ("energy_kd",) if "rule" in said else ("gradation", "energy_kd")
    request = make_request(parse(["table4", "--set", said, "--rows", *rows]))
    assert request.settings.overrides == (stored,)


def test_a_field_set_twice_has_its_last_value() -> None:
    request = make_request(parse(["table5", "--set", "lr=0.1", "weight_decay=0", "--set", "lr=0.2"]))
    assert dict(request.settings.overrides) == {"lr": "0.2", "weight_decay": "0"}


def test_a_run_that_ended_without_a_driver_is_planned_as_done(command: Command, tmp_path: Path) -> None:
    plan = make_plan([paper.find("table5")], settings(), {}, pack=None)
    for spec in plan.all_runs.values():
        run_dir(tmp_path / "results", spec.run_id).mkdir(parents=True)
        write_result(tmp_path / "results", result(spec))
    before = contents(tmp_path)
    _, out, _ = command(*SMALL, "--plan", "--json")
    found = json.loads(out)
    assert (found["done"], found["jobs"], found["device_hours"]) == (2, 0, 0)
    assert contents(tmp_path) == before


def test_failed_runs_are_told_and_only_tried_again_when_asked(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.estimate._measure", no_measuring)
    plan = make_plan([paper.find("table5")], settings(), {}, pack=None)
    distilled = next(iter(plan.runs["distilled"]))
    (tmp_path / "results").mkdir()
    with Ledger.open(tmp_path / "results" / "ledger.sqlite") as ledger:
        for run_id, spec in plan.all_runs.items():
            ledger.record(result(spec, "diverged: the loss is nan" if run_id == distilled else None))
    status, out, _ = command(*SMALL)
    assert status == 1
    assert "1 failed earlier (--retry trains them again), nothing left to train" in out
    assert "failed: 1 run: diverged: the loss is nan" in out
    assert "1 done, 1 failed, 0 not run" in out
    assert json.loads(command(*SMALL, "--plan", "--json")[1])["jobs"] == 0
    retried = json.loads(command(*SMALL, "--plan", "--json", "--retry")[1])
    assert retried["jobs"] == 2, "the student, and its teacher, whose weights are gone"
    for run_id in plan.runs["teacher"]:
        weights_path(tmp_path / "results", run_id).parent.mkdir(parents=True)
        weights_path(tmp_path / "results", run_id).touch()
    assert json.loads(command(*SMALL, "--plan", "--json", "--retry")[1])["jobs"] == 1


def test_the_listing(command: Command) -> None:
    status, out, _ = command("--list")
    assert status == 0
    for word in ("table5", "kd_he_da_40", "resnet32x4/ShuffleV2", "ResNet50", "dkd", "imagefolder", "reversed"):
        assert word in out.split()
    assert "kd_he_da_40" not in command("table4", "--list")[1]


def script(*argv: str, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.argv = {['run.py', *argv]!r}; sys.path.insert(0, {str(SCRIPT.parents[1])!r})\n{before}\n"
        "from sweeps.run import guarded\n"
        "from trainables.errors import exit_status\n"
        "status = exit_status(lambda: guarded(sys.argv[1:]), debug=False)\n"
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
    done = subprocess.run([sys.executable, str(SCRIPT), "--list"], cwd=tmp_path, stdout=writing, stderr=-1, check=False)
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
    assert lines[-1] == "2 done, 0 failed, 0 not run"
    tables = tmp_path / "results" / "tables"
    assert {path.suffix for path in tables.iterdir()} == {".tex", ".md", ".csv", ".html", ".png", ".pdf"}
    with Ledger.open(tmp_path / "results" / "ledger.sqlite", readonly=True) as ledger:
        entries = {entry.run_id: entry for entry in ledger.all()}
        assert ledger.settings_of("table5") == settings()
    assert len(entries) == 2
    assert all(entry.provenance["command"].startswith("python sweeps/run.py table5 ") for entry in entries.values())

    again = script(*SMALL, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-2:] == ["2 done, 0 failed, 0 not run", "loaded"]
    assert "1 cell: 2 runs, 2 done, nothing left to train" in again.stdout
    with Ledger.open(tmp_path / "results" / "ledger.sqlite", readonly=True) as ledger:
        assert {entry.run_id: entry for entry in ledger.all()} == entries
