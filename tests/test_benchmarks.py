"""Every benchmark runs and measures what it says; how fast anything is, is no matter of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from forked import run_script
from imagenet_like import open_source

from benchmarks import decoders, imagenet_input
from benchmarks.measure import Numbers, compare, count_flops, take_turns
from trainables.data.image_files import Decoder
from trainables.data.loader import Loader
from trainables.data.random_streams import Purpose, generator
from trainables.models import build

ROOT = Path(__file__).resolve().parents[1]
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]


def measured(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_students_against_plain_runs() -> None:
    options = ("--pair", "resnet14/resnet8", "--rows", "kd", "kd_he_da_50", "--turns", "2", "--steps", "2")
    found = measured("pack", *options, "--threads", "1")
    sides = {f"{teacher} {precision}" for teacher in ("live", "cache") for precision in ("fp32", "bf16")}
    assert found["students"] == 2
    assert found["ratios"].keys() == found["teacher"].keys() == found["peak"].keys() == sides
    assert found["rates"].keys() == sides | {"plain"}
    assert all(numbers["n"] == 2 and numbers["median"] > 0 for numbers in found["ratios"].values())
    assert found["teacher"]["cache fp32"] < found["teacher"]["live fp32"]
    assert all(0 < share < 3 for share in found["peak"].values())


@pytest.mark.slow
def test_operations_of_a_student_with_a_cache_are_its_own() -> None:
    from benchmarks.pack import count_operations, make_packs, make_scene

    scene = make_scene("resnet8/resnet8", ("kd",), 2, "cpu")
    student = build("resnet8", 100)
    images = torch.randn(64, 3, 32, 32)
    own = count_flops(lambda: student(images).sum().backward())
    with torch.no_grad():
        answers = count_flops(lambda: scene.teacher(images))
    with make_packs(scene, 0) as sides:
        for name in ("cache fp32", "cache bf16"):
            sides[name].fill(2)
        found = count_operations(sides)
    assert found == {name: own + answers * name.startswith("live") for name in sides}


@pytest.mark.slow
def test_students_together() -> None:
    found = measured("together", "--student", "resnet8", "--students", "2", "--turns", "2", "--threads", "1")
    for precision in ("fp32", "bf16"):
        assert found[precision]["ratios"].keys() == {"threads", "vmap"}
        assert all(numbers["n"] == 2 and numbers["median"] > 0 for numbers in found[precision]["rates"].values())


@pytest.mark.medium
def test_students_together_learn_as_one_by_one() -> None:
    from benchmarks.together import Students, stack, use_threads

    weights = []
    for way in ("loop", "threads", "vmap"):
        torch.manual_seed(0)
        students = Students("resnet8", 2, "cpu", "fp32")
        if way == "vmap":
            work, found = stack(students)
        else:
            work = students.loop if way == "loop" else use_threads(students)
        work()
        work()
        if way != "vmap":
            found = {
                name: torch.stack([dict(network.named_parameters())[name].detach() for network in students.networks])
                for name, _ in students.networks[0].named_parameters()
            }
        weights.append(found)
    for other in weights[1:]:
        for name, expected in weights[0].items():
            torch.testing.assert_close(other[name], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_sweep_layer() -> None:
    found = measured("sweep_overhead", "--runs", "4", "--seconds", "0.2", "--at-once", "2")
    assert found["wall"]["median"] > found["ideal"] == 0.4
    assert found["driver"]["median"] > 0


@pytest.mark.medium
def test_the_driver() -> None:
    found = measured(
        "driver", "--workers", "1", "2", "--jobs", "3", "--students", "2", "--epochs", "2", "--plan", "120"
    )
    for workers in ("1", "2"):
        assert found[workers]["report"]["n"] == 3 * 2
        assert found[workers]["record"]["median"] > 0
        assert found[workers]["devices"] > 0
    assert found["plan"]["runs"]["median"] == 2 * 60 + 4
    assert found["plan"]["screen"]["n"] == 1


@pytest.mark.slow
def test_images_a_second() -> None:
    found = measured("imagenet_input", "--turns", "2", "--images", "64")
    own = {"Pillow", "here", "here, threads", *(f"loader, {name}" for name in ("0 workers", "1 worker", "2 workers"))}
    others = {"torchcodec", "torchcodec, threads", "torchcodec CUDA", "DALI", "DALI mixed"}
    assert own <= found["rates"].keys()
    assert found["rates"].keys() | found["left_out"].keys() == own | others
    assert found["ratios"].keys() == found["rates"].keys() - {"Pillow"}
    assert all(numbers["n"] == 2 and numbers["median"] > 0 for numbers in found["rates"].values())
    assert found["a_core"]["loader, 2 workers"] == found["rates"]["loader, 2 workers"]["median"] / 2
    for name, why in found["left_out"].items():
        assert decoders.HOW in why or (why == "needs a CUDA device" and name in decoders.ON_GPU)


class Crops(NamedTuple):
    """One batch and a half; as Pillow makes them."""

    files: list[Path]
    expected: np.ndarray


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    root = tmp_path_factory.mktemp("imagenet")
    imagenet_input.make(root, 96)
    source = open_source(root)
    files = [Path(source.train.path(index)) for index in range(96)]
    return Crops(files, np.stack([decoders.pillow(path, index) for index, path in enumerate(files)]))


def assert_same_crops(found: np.ndarray, expected: np.ndarray) -> None:
    """Up to the ways in which decoders and kernels round."""
    away = np.abs(found.astype(int) - expected)
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert away.max() <= 8
    assert away.mean() < 0.3


@pytest.mark.medium
def test_the_products_crops(crops: Crops) -> None:
    assert_same_crops(np.stack([decoders.here(path, index) for index, path in enumerate(crops.files)]), crops.expected)
    source = open_source(crops.files[0].parents[2])
    loader = Loader(Decoder(source.train, source.test, decoders.SIDE), 0, pinned=False)
    parts = list(decoders.load_crops(loader, len(crops.files)))
    assert [len(part) for part in parts] == [64, 32]
    flips = np.array([generator(1, Purpose.CROP_AND_FLIP, 1, index).random() < 0.5 for index in range(96)])
    assert 20 < flips.sum() < 76
    assert_same_crops(torch.cat(parts).numpy(), crops.expected)


@pytest.mark.parametrize("device", DEVICES)
def test_torchcodecs_crops(crops: Crops, device: str) -> None:
    pytest.importorskip("torchcodec.decoders", reason=f"needs torchcodec: {decoders.HOW}")
    made = list(decoders.torchcodec_batches(crops.files, device))
    assert [len(batch) for batch in made] == [64, 32]
    assert_same_crops(torch.stack([crop.cpu() for batch in made for crop in batch]).numpy(), crops.expected)
    if device == "cpu":
        single = np.stack([decoders.torchcodec(path, index) for index, path in enumerate(crops.files)])
        assert_same_crops(single, crops.expected)


@pytest.mark.parametrize("device", DEVICES)
def test_dalis_crops(crops: Crops, device: str) -> None:
    """Turn after turn."""
    pytest.importorskip("nvidia.dali", reason=f"needs DALI: {decoders.HOW}")
    side = decoders.Dali(crops.files, "cpu" if device == "cpu" else "mixed", 2)
    for _ in range(2):
        made = list(side.batches())
        assert [len(batch) for batch in made] == [64, 32]
        there = [batch if device == "cpu" else batch.as_cpu() for batch in made]
        assert_same_crops(np.concatenate([batch.as_array() for batch in there]), crops.expected)


def test_what_cannot_run_says_why() -> None:
    def raise_error(error: Exception) -> int:
        raise error

    assert decoders.fault(lambda: 1) == ""
    assert decoders.fault(lambda: raise_error(ImportError("No module"))) == f"No module: {decoders.HOW}"
    assert decoders.fault(lambda: raise_error(RuntimeError("nvJPEG\nis not there"))) == "nvJPEG is not there"


@pytest.mark.slow
def test_a_large_ledger() -> None:
    found = measured("ledger", "--runs", "300", "--turns", "1")
    assert found["table5"]["median"] > 0
    assert found["bytes"] > 300 * 5000


@pytest.mark.medium
@pytest.mark.parametrize(
    ("script", "options"),
    [
        *(pytest.param("pack", words, marks=pytest.mark.slow) for words in (("--rows", "nonsense"), ("--steps", "1"))),
        ("together", ("--student", "nonsense")),
        pytest.param("together", ("--threads", "-1"), marks=pytest.mark.slow),
        ("ledger", ("--runs", "0")),
        ("imagenet_input", ("--images", "1")),
        *([] if torch.cuda.is_available() else [("together", ("--device", "cuda"))]),
    ],
)
def test_impossible_options(script: str, options: tuple[str, ...]) -> None:
    done = run_script(ROOT / "benchmarks" / f"{script}.py", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_sides_take_turns_and_ratios_are_within_a_turn() -> None:
    order: list[str] = []

    def side(name: str, amount: int) -> int:
        order.append(name)
        return amount

    rates = take_turns({"a": lambda: side("a", 1), "b": lambda: side("b", 10**6)}, 3)
    assert order == ["a", "b"] * 3
    assert compare(rates, "a")["b"].values == tuple(
        two / one for one, two in zip(rates["a"].values, rates["b"].values, strict=True)
    )
    assert f"{Numbers((1.0, 2.0, 4.0)):.1f}" == "2.0 (1.0 to 4.0, std 1.5, n = 3)"


def test_operations_are_counted() -> None:
    matrix = torch.ones(8, 4, requires_grad=True)
    assert count_flops(lambda: (matrix @ torch.ones(4, 5)).sum().backward()) == 2 * 2 * 8 * 4 * 5
