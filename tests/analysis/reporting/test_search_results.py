"""What a search shows: its finalists as a table, its trials as pictures, whatever was tried."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import fake_job
import numpy as np
import pytest
from PIL import Image

from analysis.figure import search_plots as draw
from analysis.figure.style import render_figure
from analysis.record.entry import entry_of
from analysis.record.trial import TrialRecord
from analysis.reporting.search_results import Finalist, Searched, sheet_of, write_search
from analysis.table.latex import latex

ENDED = (
    TrialRecord(0, "complete", 70.0, {"T": 4.0, "rule": "energy"}, "paper"),
    TrialRecord(1, "complete", 72.5, {"T": 5.5, "rule": "reversed"}),
    TrialRecord(2, "pruned", 60.0, {"T": 2.0, "rule": "energy"}),
    TrialRecord(3, "failed", None, {"T": 3.0, "rule": "energy"}, reason="diverged: the loss is nan"),
    TrialRecord(4, "lost", None, {}, reason="the search was stopped"),
)
TRIALS = ENDED[:3]
OTHER_FIELDS = (
    TRIALS[0],
    replace(TRIALS[1], fields={"rule": "lskd", "tau": 2.0}),
    replace(TRIALS[2], fields={"tau": 3}),
)


def finalist(name: str, tops: list[float], score: float | None = 70.0) -> Finalist:
    results = [fake_job.result(fake_job.spec(seed=seed)) for seed, _ in enumerate(tops, 1)]
    entries = [
        entry_of(result | {"best_top1": top, "last_top1": top - 1}) for result, top in zip(results, tops, strict=True)
    ]
    trial = None if score is None else replace(ENDED[0], score=score)
    return Finalist(name, {"T": 4.0, "rule": "energy"}, trial, (tuple(entries),))


FOUND = Searched(
    what="Energy KD of A/B on digits",
    space="T=2:8 rule=energy,reversed",
    trials=ENDED,
    held_out=0.1,
    seeds=3,
    finalists=(finalist("Paper's", [71, 72, 73]), finalist("Trial 1", [72, 74], None), finalist("Trial 2", [])),
    importances={"T": 0.8, "rule": 0.2},
)


def test_the_table() -> None:
    (panel,) = sheet_of(FOUND).panels
    assert panel.heads == (("Point", "T", "rule", "Held out", "Test, best", "Test, last"),)
    (lines,) = panel.groups
    assert [line.label for line in lines] == ["Paper's", "Trial 1", "Trial 2"]
    paper, trial, nothing = ([(one.text, one.spread, one.note, one.best) for one in line.entries] for line in lines)
    assert paper[2:] == [("70.00", "", "", False), ("72.00", "1.00", "", True), ("71.00", "1.00", "", True)]
    assert trial[2:4] == [("—", "", "", False), ("73.00", "1.41", "2/3 seeds", False)]
    assert nothing[3] == ("—", "", "0/3", False)
    assert "The trials did not see the test images" in latex(sheet_of(FOUND)).replace("\n% ", " ")


def test_the_table_of_several_pairs_has_the_gain_of_each_seed_over_kd() -> None:
    lines = []
    for name, tops in (("KD", ([70, 72], [50, 51])), ("Paper's", ([71, 72], [53, 51]))):
        both = [finalist(name, each) for each in tops]
        lines.append(replace(both[0], entries=tuple(one.entries[0] for one in both)))
    found = replace(FOUND, finalists=tuple(lines), pairs=("A/B", "C/D"), seeds=2)
    (panel,) = sheet_of(found).panels
    assert panel.heads[0][-4:] == ("Gain, held out", "A/B", "C/D", "Gain")
    gains = [(line.entries[-1].text, line.entries[-1].spread, line.entries[-1].best) for line in panel.groups[0]]
    assert gains == [("0.00", "0.00", False), ("1.00", "1.41", True)]
    assert "ranked by the mean gain over KD of A/B and C/D" in sheet_of(found).caption


FRONT = replace(
    FOUND,
    trials=tuple(replace(one, costs={"seconds": 9.0 - place, "epochs": 3.0}) for place, one in enumerate(TRIALS)),
    finalists=(replace(FOUND.finalists[0], trial=replace(TRIALS[0], costs={"seconds": 9.0, "epochs": 3.0})),),
    costs=("seconds", "epochs"),
)


@pytest.mark.medium
def test_the_front_is_a_table_and_a_picture(tmp_path: Path) -> None:
    (panel,) = sheet_of(FRONT).panels
    assert panel.heads[0][3:6] == ("Held out", "Seconds", "Epochs")
    assert [one.text for one in panel.groups[0][0].entries[2:5]] == ["70.00", "9", "3"]
    assert "the Pareto front of top-1, seconds and epochs." in sheet_of(FRONT).caption
    paths = {path.name for path in write_search(FRONT, tmp_path)}
    assert {"front.png", "front.pdf", "table.tex"} <= paths
    assert (tmp_path / "trials.csv").read_text().startswith("trial,state,held_out_top1,seconds,epochs,origin,")


def test_the_caption_counts_the_trials_and_names_what_differs_from_the_paper() -> None:
    said = sheet_of(FOUND).caption
    assert "4 trials of one seed over T=2:8 rule=energy,reversed (1 pruned and 1 failed), scored on 10%" in said
    assert "Differs" not in said
    said = sheet_of(replace(FOUND, trial_epochs=60, deviations=("lr = 0.1", "precision bf16"), seeds=1)).caption
    assert "of one seed and 60 epochs over" in said
    assert "on the test images, one seed, of the best" in said
    assert said.endswith("Differs from the paper: lr = 0.1; precision bf16.")


@pytest.mark.parametrize(
    "found", [FOUND, pytest.param(replace(FOUND, trials=(), importances={}), marks=pytest.mark.medium)]
)
def test_files(found: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_search(found, tmp_path)
    assert found.what in capsys.readouterr().out
    pictures = {path.stem for path in paths if path.suffix == ".pdf"}
    assert pictures == ({"history", "slices", "parallel", "importances"} if found.trials else set())
    assert all(path.stat().st_size > 0 for path in paths)
    if found.trials:
        lines = (tmp_path / "trials.csv").read_text().splitlines()
        assert len(lines) == 1 + len(found.trials)
        assert lines[1] == "0,complete,70.0,paper,4.0,energy,"
        assert lines[4] == "3,failed,,,3.0,energy,diverged: the loss is nan"


def draw_front(trials: tuple[TrialRecord, ...], title: str) -> object:
    return draw.front([replace(one, costs={"seconds": one.number, "flops": 7.5}) for one in trials], [0, 1], title)


@pytest.mark.parametrize("make", [draw.history, draw.slices, draw.parallel, draw_front])
@pytest.mark.parametrize(
    "trials",
    [
        TRIALS,
        pytest.param(TRIALS[:1], marks=pytest.mark.medium),
        (TRIALS[0], replace(TRIALS[0], number=1)),
        OTHER_FIELDS,
    ],
)
@pytest.mark.medium
def test_nothing_is_cut_off(make: object, trials: tuple[TrialRecord, ...]) -> None:
    picture = Image.open(io.BytesIO(render_figure(make(trials, "Title"), "png", "x", dpi=60)))  # type: ignore[operator]
    pixels = np.asarray(picture.convert("L"))
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == 255).all()
    assert pixels.min() < 128
