"""gpu_check.py: what it writes whatever becomes of its steps; and its own steps, small, on the processor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check, gpu_steps
from benchmarks.gpu_check import check, write
from benchmarks.gpu_step import Setting, Step
from trainables.data.dataset import Split
from trainables.errors import UserError


def step(name: str, seconds: float = 600) -> Step:
    return Step(name, f"About {name}.", seconds, f"gpu_steps_for_tests:{name}", ("one", "device", "gpu only"))


def test_a_step_that_fails_hangs_or_dies_keeps_its_rows_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    monkeypatch.setattr("benchmarks.gpu_check.write", lambda out, *rest: (write(out, *rest), written.append(out)))
    steps = [step("well"), step("broken"), step("endless", seconds=2), step("dying"), step("well")]
    outcomes = check(steps, "cpu", 10, tmp_path, warm="gpu_steps_for_tests")
    assert [one.status for one in outcomes] == ["done", "failed", "out of time", "failed", "done"]
    assert [row["one"] for one in outcomes for row in one.rows] == [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0]
    assert "ValueError: on purpose here (gpu_steps_for_tests.py:" in outcomes[1].reason
    assert [outcomes[2].reason, outcomes[3].reason] == ["ended after 2 s", "its process ended with status 7"]
    assert len(written) == len(steps) + 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [one["status"] for one in found["steps"]] == [one.status for one in outcomes]
    page = (tmp_path / "gpu.md").read_text()
    assert "| 1 | cpu |  |" in page
    assert "**out of time**: ended after 2 s (" in page
    capsys.readouterr()


def test_what_no_time_is_left_for_is_said(tmp_path: Path) -> None:
    (outcome,) = check([step("well")], "cpu", 0.01, tmp_path)
    assert (outcome.status, outcome.reason) == ("not begun", "no time was left")
    assert "no time was left" in (tmp_path / "gpu.md").read_text()


@pytest.mark.parametrize("one", gpu_steps.STEPS, ids=lambda one: one.name)
def test_every_step_has_a_function_and_its_time_fits(one: Step) -> None:
    module, _, name = one.function.partition(":")
    assert callable(getattr(pytest.importorskip(module), name))
    assert sum(each.seconds for each in gpu_steps.STEPS) <= 900


@pytest.mark.slow
@pytest.mark.parametrize("one", gpu_steps.STEPS, ids=lambda one: one.name)
def test_every_step_on_the_processor(one: Step) -> None:
    """Rows have no other columns than those of the page; on the processor nothing differs from it."""
    import importlib

    module, _, name = one.function.partition(":")
    rows = list(getattr(importlib.import_module(module), name)(Setting("cpu", 600)))
    assert rows
    assert all(row.keys() <= {*one.columns, "teacher, %"} for row in rows)
    if one.name == "processor":
        assert all(row["fp32"] == 0 for row in rows)
    if one.name == "bits":
        assert {value for row in rows for key, value in row.items() if key not in ("network", "precision")} == {"same"}


def test_given_images_are_used_equally_many_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    some = gpu_steps.make_images(300, None)
    mixed = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    real = replace(some, train=Split(some.train.images[mixed], some.train.labels[mixed]), mean=(0.1, 0.2, 0.3))
    monkeypatch.setattr(gpu_steps, "cifar100", lambda data_dir: real)
    found = gpu_steps.make_images(200, Path("images"))
    assert found.mean == real.mean
    assert found.train.labels.tolist() == [*range(100), *range(100)]
    known = {image.tobytes() for image in real.train.images.numpy()}
    assert {image.tobytes() for image in found.train.images.numpy()} <= known


def test_a_folder_without_cifar100_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="CIFAR-100"):
        gpu_check.main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
