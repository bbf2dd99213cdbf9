"""`evaluate.py`: its numbers against a plain loop and against published checkpoints, its complaints."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.backends import cudnn

from trainables.commands import run_command
from trainables.datasets import load
from trainables.evaluate import main
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.training.evaluation import choose_batch_size

SCRIPT = Path(__file__).resolve().parents[2] / "trainables" / "evaluate.py"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has never been trained, with statistics that make its answers differ from image to image."""
    torch.manual_seed(3)
    model = build("resnet8", 10)
    images = load("digits", None).train.images[:256].permute(0, 3, 1, 2) / 255
    model.train()(images)
    path = tmp_path_factory.mktemp("weights") / "resnet8.pth"
    save_weights(model, path)
    return path


def scores(capsys: pytest.CaptureFixture[str], *argv: object) -> dict:
    assert main([str(word) for word in argv] + ["--json"]) == 0
    out: dict = json.loads(capsys.readouterr().out)
    return out


def plainly(weights: Path) -> tuple[float, float, float]:
    """Top-1, top-5 and loss, image by image in float64."""
    dataset = load("digits", None)
    model = build("resnet8", 10).double().eval()
    model.load_state_dict(torch.load(weights, weights_only=True)["model"])
    top1 = top5 = loss = 0.0
    for image, label in zip(dataset.test.images, dataset.test.labels.tolist(), strict=True):
        pixels = image.permute(2, 0, 1).double() / 255
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (dataset.mean, dataset.std))
        with torch.no_grad():
            logits = model(((pixels - mean) / std)[None])[0]
        order = logits.argsort(descending=True).tolist()
        top1 += order[0] == label
        top5 += label in order[:5]
        loss -= float(logits.log_softmax(0)[label])
    count = len(dataset.test)
    return 100 * top1 / count, 100 * top5 / count, loss / count


def test_the_scores_are_those_of_a_plain_loop(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scores(capsys, "resnet8", weights, "--dataset", "digits", "--device", "cpu")
    top1, top5, loss = plainly(weights)
    assert found["top1"] == pytest.approx(top1, abs=1e-3)
    assert found["top5"] == pytest.approx(top5, abs=1e-3)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["images"] == 597
    assert found["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.medium
def test_the_batch_size_does_not_matter(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dataset", "digits", "--device", "cpu")
    usual = scores(capsys, "resnet8", weights, *options)["top1"]
    for batch_size in (7, 597, 10_000):
        assert scores(capsys, "resnet8", weights, *options, "--batch-size", batch_size)["top1"] == usual


def test_people_get_a_sentence(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet8", str(weights), "--dataset", "digits"]) == 0
    out = capsys.readouterr().out
    assert "resnet8 on the 597 test images of scikit-learn's bundled digits" in out
    assert "top-1" in out
    assert "sha256" in out


@pytest.mark.slow
def test_it_runs_as_a_script_from_anywhere(weights: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "resnet8", weights.name, "--dataset", "digits", "--json"],
        cwd=weights.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arch"] == "resnet8"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["resnet9", "WEIGHTS", "--dataset", "digits"], "unknown network 'resnet9': use one of resnet"),
        (["resnet14", "WEIGHTS", "--dataset", "digits"], "does not fit resnet14: layer1.1.conv1.weight is missing"),
        (["resnet8", "WEIGHTS", "--dataset", "cifar100"], "is a resnet8 of 10 classes, and 100 are needed"),
        (["resnet8", "nothing.pth", "--dataset", "digits"], "no weights at nothing.pth: check the path"),
        (["resnet8", "SCRIPT", "--dataset", "digits"], "is no PyTorch checkpoint"),
        (["resnet8", "WEIGHTS", "--dataset", "mnist"], "unknown data set 'mnist'"),
        (["resnet8", "WEIGHTS", "--dataset", "digits", "--batch-size", "0"], "--batch-size 0 must be at least 1"),
        (["resnet8"], "the following arguments are required: WEIGHTS"),
    ],
)
def test_bad_input_is_one_line(
    weights: Path, capsys: pytest.CaptureFixture[str], argv: list[str], complaint: str
) -> None:
    named = {"WEIGHTS": str(weights), "SCRIPT": str(SCRIPT)}
    assert run_command(main, [named.get(word, word) for word in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert complaint in captured.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_said(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["resnet8", str(weights), "--dataset", "digits", "--device", "cuda"]
    assert run_command(main, argv) == 2
    assert "no CUDA device is visible: use --device cpu" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "top1"), [("resnet20", 71.62), ("wrn_16_2", 75.53)])
def test_published_checkpoints_score_as_published(
    ekd_data: Path, capsys: pytest.CaptureFixture[str], arch: str, top1: float
) -> None:
    weights = ekd_data / "data" / "checkpoints" / f"{arch}_energykd"
    found = scores(capsys, arch, weights, "--dataset", "cifar100", "--data-dir", ekd_data / "data" / "cifar100")
    assert found["top1"] == pytest.approx(top1, abs=0.02)
    assert found["images"] == 10_000


def test_convolutions_are_those_of_training(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU: without TF32, and the same every time."""
    found = []
    network = type(build("resnet8", 10))
    ask = network.forward

    def watched(self: Any, images: Tensor) -> Tensor:
        found.append((cudnn.allow_tf32, cudnn.deterministic))
        answer: Tensor = ask(self, images)
        return answer

    monkeypatch.setattr(network, "forward", watched)
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    assert main(["resnet8", str(weights), "--dataset", "digits"]) == 0
    assert set(found) == {(False, True)}
    assert cudnn.allow_tf32


@pytest.mark.parametrize(("side", "expected"), [(16, 2000), (32, 2000), (64, 512), (65, 496), (224, 64), (10**4, 64)])
def test_large_images_are_evaluated_fewer_at_once(side: int, expected: int) -> None:
    """A small share of a GPU holds the maps of 64 images of 224 x 224, and none those of 2,000."""
    assert choose_batch_size({"cuda": 2000, "cpu": 7}, torch.device("cuda"), side) == expected
    assert choose_batch_size({"cuda": 2000, "cpu": 7}, torch.device("cpu"), side) == min(7, expected)
