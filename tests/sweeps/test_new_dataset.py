"""A data set is one file: once it is there it is listed, planned and trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Command, no_measuring
from plans import plan_of
from small_jobs import train

from analysis.paper import table5
from analysis.record.settings import Settings
from analysis.table import names as printed
from trainables import datasets
from trainables.storage.job_file import Execution
from trainables.storage.runs import read_result

MODULE = '''
"""The first five digits."""

from dataclasses import replace

from trainables.data.counts import ImageCounts
from trainables.datasets import digits


def read(data_dir, *, download):
    import numpy as np

    whole = digits.read(data_dir, download=download)
    train, test = (split.take(np.flatnonzero(split.labels.numpy() < 5)) for split in (whole.train, whole.test))
    return replace(whole, classes=whole.classes[:5], train=train, test=test, source="the first five digits")


DATASET = replace(
    digits.DATASET,
    title="Five digits",
    recipe=replace(digits.DATASET.recipe, name="five"),
    read=read,
    published=ImageCounts(5, 16, digits.DATASET.published.train_per_class[:5], 303),
)
'''


@pytest.fixture
def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set in a folder that is searched too."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "five.py").write_text(MODULE)
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(folder)])
    return "five"


def test_a_new_data_set_is_one_file(
    five: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    status, out, _ = command("--list")
    assert status == 0
    assert "five         comes with the program: 121 .. 117 a class, 598 images" in out
    assert "Five digits         resnet20/resnet8" in out
    status, out, _ = command("table5", "--dataset", five, "--rows", "kd", "--seeds", "1", "--gpus", "0", "--plan")
    assert status == 0
    assert printed.dataset(five) in out
    asked = Settings(dataset=five, rows=("kd",), pairs=("resnet14/resnet8",), seeds=1, epochs=1, train_fraction=0.05)
    for job in plan_of([table5.TABLE], asked, {}, pack=None).jobs:
        train(job.specs, Execution(tmp_path / "results"))
        for spec in job.specs:
            result = read_result(tmp_path / "results", spec.run_id)
            assert result is not None
            assert result["status"] == "done"
