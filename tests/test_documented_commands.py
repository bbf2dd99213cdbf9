"""Every command that README, docs and --help name works, as far as this machine can tell.

Those of tables, figures, reports and weights run, on made-up results and on digits; sweeps and searches are read,
checked and planned, and (slow) run where they name digits; of benchmarks and of Ray's own commands the options are
looked up.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import made_up
import pytest
import torch
from commands import no_measuring
from documented import MADE, RAYS, ROOT, TEXTS, code, help_of, matches, ours, written

from analysis import paper
from analysis.record.settings import Settings
from sweeps import run
from sweeps.request.arguments import parse as parse_run
from sweeps.request.request import make_request
from sweeps.search import make_search
from sweeps.searching.arguments import parse as parse_search
from trainables.commands import COMMANDS, run_command
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution, job_json
from trainables.used_files import stop_using, used

STANDS_FOR = {"TABLE": "table5", "FOLDER": "results", "$gpus": "0"}
FILES = ("FILE", "WEIGHTS", "wrn_16_2_energykd", "wrn_16_2.pth")
"""Weights of a WRN-16-2."""
LESS = {
    "run": ("--rows", "kd", "--pairs", "resnet20/resnet8"),
    "search": ("--trials", "2", "--top", "1"),
}
SHORT = ("--epochs", "1", "--seeds", "1", "--train-fraction", "0.1")


QUESTION = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "ablations.md").read_text(), re.DOTALL)[0]
METHOD = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extend" / "methods.md").read_text(), re.DOTALL)[0]
CONFIG = "DISTILLER: {TYPE: DKD, TEACHER: vgg13, STUDENT: vgg8}\nSOLVER: {WEIGHT_DECAY: 5e-4}\n"


def weights(path: Path, network: str, classes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_weights(build(network, classes), path)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made-up results, weights of ten classes, a job."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "docs").symlink_to(ROOT / "docs")
    settings = Settings(pairs=("resnet56/resnet20",), rows=("kd", "kd_he_da_40"))
    for name in ("results", "OTHER"):
        made_up.write_ledger(folder / name, [paper.find("table5")], settings)
    figure = [paper.find("figure3")]
    made_up.write_ledger(folder / "results", figure, Settings(pairs=("resnet56/resnet20",)))
    (folder / "question.toml").write_text(QUESTION)
    asked = make_request(parse_run([str(folder / "question.toml")])).settings
    made_up.write_ledger(folder / "results", [paper.find("question", asked)], asked)
    for name in FILES:
        weights(folder / name, "wrn_16_2", 10)
    weights(folder / "resnet20_energykd", "resnet20", 10)
    spec = RunSpec("digits", "resnet8", 1, 1, (), 0.05, train_fraction=0.05)
    (folder / "results" / "jobs").mkdir()
    execution = Execution(folder / "results", threads=1)
    (folder / "results" / "jobs" / "JOB.json").write_text(job_json([spec], execution))
    return folder


def check(one: tuple[str, ...], folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
    """The command works in a folder that has what it names."""
    script, *words = one[0], *(STANDS_FOR.get(word, word) for word in one[1:])
    patch.chdir(folder)
    patch.setenv("HOME", str(folder))
    patch.setattr("analysis.watch.serve", lambda *_, **__: None)
    assert (ROOT / script).is_file(), one
    if script == "sweeps/run.py":
        patch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
        status = run_command(run.main, words if {"--plan", "--list"} & {*words} else [*words, "--plan"])
    elif script == "sweeps/search.py":
        status = run_command(lambda argv: len(make_search(parse_search(argv))) - 2, words)
    elif (module := script.removesuffix(".py").replace("/", ".")) in COMMANDS.values():
        main = importlib.import_module(module).main
        status = run_command(main, ["digits" if word == "cifar100" else word for word in words])
    else:
        assert not [word for word in words if word.startswith("--") and word not in help_of(module, patch).split()], one
        status = 0
    assert status == 0, (one, capture.readouterr().err)
    capture.readouterr()


def cost(one: tuple[str, ...]) -> tuple[pytest.MarkDecorator, ...]:
    """Answers of networks take minutes, a report with its PDF seconds."""
    if "--weights" in one:
        return (pytest.mark.slow,)
    return (pytest.mark.medium,) if one[0] == "analysis/report.py" else ()


@pytest.mark.parametrize("one", [pytest.param(one, marks=cost(one)) for one in written()], ids=" ".join)
def test_a_written_command_works(
    one: tuple[str, ...],
    desk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if one[0] != "sweeps/run.py":
        check(one, desk, monkeypatch, capsys)
        return
    if "--save" not in one:
        (tmp_path / "question.toml").write_text(QUESTION)
    (tmp_path / "my_method.py").write_text(METHOD.replace("weight: float", "weight: float = 2"))
    config = tmp_path / "configs" / "cifar100" / "dkd" / "vgg13_vgg8.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    weights(tmp_path / "checkpoints" / "resnet56.pth", "resnet56", 100)
    weights(tmp_path / "wrn_16_2_energykd", "wrn_16_2", 100)
    check(one, tmp_path, monkeypatch, capsys)
    for word in used()[1:]:
        stop_using(Path(word))


def examples(name: str, patch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that --help shows, without what is said behind them."""
    lines = [line.strip() for line in help_of(COMMANDS[name], patch).splitlines() if not line.startswith("usage:")]
    return [one for line in lines for one in ours(re.sub(r"  +\S.*", "", line))]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_help_work(
    name: str, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights(tmp_path / "checkpoints" / "resnet56.pth", "resnet56", 100)
    for one in examples(name, monkeypatch):
        check(one, tmp_path if one[0] == "sweeps/run.py" else desk, monkeypatch, capsys)


def test_ranges_that_are_named_alone_can_be_searched() -> None:
    parts = [part for path in TEXTS for part in code(path.read_text())]
    found = {part for part in parts if part.startswith("--space ")}
    assert found
    for part in found:
        make_search(parse_search(["--pair", "vgg13/vgg8", *part.split()]))


def test_goals_of_make_exist() -> None:
    goals = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert matches(MADE)
    assert matches(MADE) <= {*goals}


def test_commands_of_ray_have_these_options() -> None:
    from ray.scripts.scripts import cli

    found = matches(RAYS)
    assert found
    for name, words in found:
        known = {option for each in cli.commands[name].params for option in each.opts}
        assert {*re.findall(r"(?<!\S)--[a-z-]+", words)} <= known, (name, words)


def test_a_command_is_found_wherever_it_stands() -> None:
    assert ours("cd x; python sweeps/run.py table5 --set T=3 # why\nekd report && ekd of") == [
        ("sweeps/run.py", "table5", "--set", "T=3"),
        ("analysis/report.py",),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", LESS)
def test_the_examples_on_digits_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [one for one in examples(name, monkeypatch) if {"digits", "--gpus"} <= {*one}]
    assert found
    for script, *words in found:
        command = [sys.executable, str(ROOT / script), *words, *LESS[name], *SHORT]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
