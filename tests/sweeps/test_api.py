"""The calls of a notebook: ask, plan, load; and the notebook of the documentation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import made_up
import numpy as np
import pytest

from analysis import paper
from analysis.record.settings import Settings
from analysis.results import load
from sweeps.api import ask, plan
from sweeps.request.arguments import parse
from sweeps.request.request import make_request
from trainables.errors import UserError

NOTEBOOK = Path(__file__).parents[2] / "docs" / "ablation.ipynb"
PAIR = "resnet20/resnet8"


def test_a_question_is_what_the_command_line_asks(tmp_path: Path) -> None:
    question = ask(
        "ablation",
        rows=["energy_kd"],
        pairs=[PAIR],
        vary={"T+": [1, 2], "T-": -1},
        set={"lr": 0.1},
        dataset="digits",
        seeds=2,
        gpus=0,
        download=False,
        results=tmp_path / "r",
    )
    words = ["ablation", "--rows", "energy_kd", "--pairs", PAIR, "--vary", "T+=1,2", "T-=-1", "--set", "lr=0.1"]
    options = parse([*words, "--dataset", "digits", "--seeds", "2", "--gpus", "0", "--results", str(tmp_path / "r")])
    assert question.request == make_request(options)
    assert question.options == options
    with pytest.raises(UserError, match="unknown row"):
        ask("table5", rows=["nosuch"])
    with pytest.raises(UserError, match=r"--use .*/nosuch.py: cannot be read"):
        ask("table5", use="nosuch.py")


@pytest.mark.parametrize("values", [range(1, 3), np.arange(1, 3), (1, 2), "1,2"])
def test_values_may_be_ranges_and_arrays(values: object, tmp_path: Path) -> None:
    words = {"rows": ["energy_kd"], "pairs": [PAIR], "dataset": "digits", "gpus": 0, "results": tmp_path}
    asked = ask(["ablation"], vary={"T+": values}, **words)
    assert asked.request.settings.vary == (("temperature.plus", ("1", "2")),)


def test_a_plan_says_what_is_done(tmp_path: Path) -> None:
    settings = Settings("digits", pairs=(PAIR,), rows=("kd",), seeds=1)
    made_up.write_ledger(tmp_path, [paper.find("table5")], settings)
    frame = plan(ask("table5", dataset="digits", pairs=[PAIR], rows=["kd"], seeds=2, gpus=0, results=tmp_path))
    states = frame.groupby(["kind", "seed"])["state"].first()
    assert states["distilled", 1] == "done"
    assert states["distilled", 2] == "to train"
    assert frame.loc[frame["state"] == "to train", "job"].notna().all()
    assert not list(tmp_path.glob("runs"))


def test_results_are_those_of_the_commands(tmp_path: Path) -> None:
    settings = Settings("digits", pairs=(PAIR,), rows=("kd", "kd_he_da_40"))
    made_up.write_ledger(tmp_path, [paper.find("table5")], settings)
    results = load(tmp_path)
    assert results.tables == ("table5",)
    table = results.table("table5").set_index("row")
    runs = results.runs
    of_kd = runs[(runs["row"] == "kd") & (runs["kind"] == "distilled")]
    assert table.loc["kd", "mean"] == pytest.approx(of_kd["best_top1"].mean())
    assert table.loc["kd", "n"] == 3
    assert set(results.curves["run_id"]) == set(runs["run_id"])
    assert r"\begin{tabular}" in results.text("table5")
    with pytest.raises(UserError, match="unknown form 'tex': use one of text, latex"):
        results.text("table5", "tex")
    assert results.figure("table5").axes
    with pytest.raises(UserError):
        load(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_notebook_runs_from_an_empty_folder(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    path = os.pathsep.join(filter(None, [str(NOTEBOOK.parents[1]), os.environ.get("PYTHONPATH")]))
    check = "\nassert table['n'].max() == 2\nassert len(results.figure('ablation').axes) == 2\n"
    done = subprocess.run(
        [sys.executable, "-c", code + check],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert r"\begin{tabular}" in done.stdout
