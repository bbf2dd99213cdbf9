"""Data sets in files, from the command line to the table: a made-up ImageNet on one and two devices, TinyImageNet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.models import build
from trainables.models.checkpoint import load_state, save_weights
from trainables.spec import from_dict
from trainables.training.student import initial_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLASSES = 64
DAMAGED = ("train/n00000003/1.JPEG", "val/n00000063/0.JPEG")
PAIR = "imagenet_resnet34/imagenet_resnet18"


def pictures(folder: Path, count: int, draw: np.random.Generator, side: tuple[int, int]) -> None:
    """JPEG files of noise, of sizes in a range of sides: no two areas are alike, so that rounding moves few ReLUs."""
    folder.mkdir(parents=True)
    for number in range(count):
        width, height = (int(size) for size in draw.integers(*side, 2, endpoint=True))
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.JPEG", quality=90)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 classes of real JPEG files, in the form of ImageNet, two of them damaged; and weights of a ResNet34."""
    root = tmp_path_factory.mktemp("large")
    draw = np.random.default_rng(0)
    for name in range(CLASSES):
        pictures(root / "imagenet" / "train" / f"n{name:08d}", 1 + (name % 2), draw, (120, 300))
        pictures(root / "imagenet" / "val" / f"n{name:08d}", 1, draw, (120, 300))
    for name in DAMAGED:
        (root / "imagenet" / name).write_bytes(b"\xff\xd8\xff no image")
    torch.manual_seed(0)
    save_weights(build("imagenet_resnet34", CLASSES), root / "teachers" / "imagenet_resnet34.pth")
    return root


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "sweeps/run.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)


def table3(imagenet: Path, results: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run(
        *("table3", "--pairs", PAIR, "--rows", "energy_dkd", "--epochs", "1", "--seeds", "1", "--batch-size", "32"),
        *("--set", "lr=0.001", "--gpus", "0", "--data-dir", imagenet, "--teachers", imagenet / "teachers"),
        *("--results", results, *more),
    )


def test_one_device_and_two_train_the_same_student(imagenet: Path, tmp_path: Path) -> None:
    found = {}
    for devices in (1, 2):
        results = tmp_path / str(devices)
        done = table3(imagenet, results, "--gpus-per-job", str(devices))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 runs done, 0 failed, 0 not run" in done.stdout
        assert "own images in the form of imagenet" in " ".join(done.stdout.split())
        assert "2 images could not be decoded" in done.stdout
        assert all(done.stdout.count(f"  {imagenet / 'imagenet' / name} (") == 1 for name in DAMAGED)
        found[devices] = {
            from_dict(result["spec"]).method: (result, load_state(path.parent / "weights.pt"))
            for path in (results / "runs").glob("*/result.json")
            for result in [json.loads(path.read_text())]
        }
    assert found[1].keys() == found[2].keys() == {"vanilla", "dkd"}
    for method, (one, weights) in found[1].items():
        two, others = found[2][method]
        assert one["run_id"] == two["run_id"]
        assert (one["provenance"]["devices"], two["provenance"]["devices"]) == (1, 2)
        assert [result["provenance"]["unreadable_images"] for result in (one, two)] == [2, 2]
        assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-4)
        assert one["last_loss"] == pytest.approx(two["last_loss"], rel=1e-3)
        start = initial_model(from_dict(one["spec"]), CLASSES).state_dict()
        moved = sum((weights[key].float() - start[key].float()).square().sum() for key in weights)
        apart = sum((weights[key].float() - others[key].float()).square().sum() for key in weights)
        assert apart < 1e-4 * moved, method


def test_a_method_that_cannot_be_split_takes_one_device(imagenet: Path, tmp_path: Path) -> None:
    done = run(
        *("direction", "table1", "--pairs", PAIR, "--rows", "pkt", "kd", "--epochs", "1", "--seeds", "1"),
        *("--dataset", "imagenet", "--batch-size", "64", "--train-fraction", "0.5", "--gpus", "0"),
        *("--gpus-per-job", "2", "--data-dir", imagenet, "--teachers", imagenet / "teachers", "--results", tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 runs done, 0 failed, 0 not run" in done.stdout
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")]
    devices = {from_dict(result["spec"]).method: result["provenance"]["devices"] for result in results}
    assert devices == {"vanilla": 2, "kd": 2, "pkt": 1}


def workers() -> list[int]:
    """The processes of several-device jobs."""
    found = subprocess.run(["pgrep", "-f", "ray::.*RayTrainWorker"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_a_killed_process_of_two_is_replaced(imagenet: Path, tmp_path: Path) -> None:
    command = [sys.executable, "sweeps/run.py", "table3", "--pairs", PAIR, "--rows", "kd", "--epochs", "2"]
    command += ["--seeds", "1", "--batch-size", "64", "--gpus", "0", "--gpus-per-job", "2"]
    command += ["--data-dir", str(imagenet), "--teachers", str(imagenet / "teachers"), "--results", str(tmp_path)]
    before = set(workers())
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        deadline = time.monotonic() + 600
        while not list(tmp_path.glob("runs/*/checkpoint*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(max(set(workers()) - before), signal.SIGKILL)
        assert driver.stdout is not None
        said = driver.stdout.read()
    assert driver.returncode == 0, said
    assert "2 runs done, 0 failed, 0 not run" in said


def test_tinyimagenet(tmp_path: Path) -> None:
    root, draw = tmp_path / "tiny-imagenet-200", np.random.default_rng(1)
    names = [f"n{number:08d}" for number in range(12)]
    for name in names:
        pictures(root / "train" / name / "images", 6, draw, (64, 64))
    pictures(root / "val" / "images", 24, draw, (64, 64))
    (root / "wnids.txt").write_text("\n".join(names))
    (root / "words.txt").write_text("".join(f"{name}\tthing {name[-2:]}\n" for name in names))
    lines = [f"{number}.JPEG\t{names[number % 12]}\t0\t0\t62\t62" for number in range(24)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    done = run(
        *("table6", "--pairs", "resnet20/resnet8", "--rows", "kd", "kd_he_da_50", "--epochs", "1", "--seeds", "1"),
        *("--batch-size", "16", "--gpus", "0", "--data-dir", tmp_path, "--results", tmp_path / "results"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 runs done, 0 failed, 0 not run" in done.stdout
    assert (root / "val" / "images" / "0.JPEG").exists()
