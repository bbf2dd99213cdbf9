"""On a GPU: the same numbers alone, packed and resumed. VGG too, whose pooling has a backward pass of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_jobs import VANILLA, GivenTeacher, assert_same, outcome, stop_after, train

from trainables.job import Execution
from trainables.spec import Mixing

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_alone_packed_and_resumed(precision: str, teacher: GivenTeacher, tmp_path: Path) -> None:
    specs = [
        teacher.spec(precision=precision),
        teacher.spec("dkd", precision=precision, mixing=Mixing("cutmix", "high", 0.5)),
    ]
    folders = alone, packed, resumed = [tmp_path / name for name in ("alone", "packed", "resumed")]
    executions = [teacher.execution(folder, device="cuda") for folder in folders]
    for spec in specs:
        train([spec], executions[0])
    train(specs, executions[1])
    stop_after(specs, executions[2], 1)
    train(specs, executions[2])
    assert_same(alone, packed, specs)
    assert_same(alone, resumed, specs)


@pytest.mark.filterwarnings("ignore:max_pool2d_with_indices_backward_cuda")
@pytest.mark.parametrize("network", ["vgg8", "imagenet_resnet18"])
def test_max_pooling_is_repeatable(network: str, tmp_path: Path) -> None:
    """Of windows side by side, and of windows that overlap."""
    spec = replace(VANILLA, student=network)
    for name in ("one", "two"):
        train([spec], Execution(tmp_path / name, device="cuda"))
    assert outcome(tmp_path / "one", spec)[1]["status"] == "done"
    assert_same(tmp_path / "one", tmp_path / "two", [spec])
