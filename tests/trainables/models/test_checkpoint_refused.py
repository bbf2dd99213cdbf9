"""Files of weights that cannot be used: one line each, whatever they are, and nothing in them is run."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import zipfile
from collections import defaultdict
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from weight_files import CLASSES, State, assert_equal, refusal, saved

from trainables.models import build
from trainables.models.checkpoint import load_state, load_weights, save_weights


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert refusal(lambda: load_state(tmp_path / "none.pth")) == f"no weights at {tmp_path}/none.pth: check the path"
    assert "is a folder" in refusal(lambda: load_state(tmp_path))
    assert "cannot read" in refusal(lambda: load_state(tmp_path / ("y" * 300)))


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "w").touch()
    assert "is empty" in refusal(lambda: load_state(tmp_path / "w"))


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_and_damaged_files_never_show_anything_but_one_line(
    state: State, tmp_path: Path, legacy: bool
) -> None:
    content = saved(state, tmp_path / "whole", legacy=legacy).read_bytes()
    path, chance = tmp_path / "w", random.Random(0)
    for length in (1, 3, 4, 30, 600, 3000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "PyTorch checkpoint" in refusal(lambda: load_state(path)), length
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(20):
            damaged[chance.randrange(min(len(damaged), 9000))] = chance.randrange(256)
        path.write_bytes(damaged)
        refusal(lambda: load_weights(build("resnet8", CLASSES), path, "resnet8"))


def test_one_changed_bit_in_the_weights_is_noticed(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path / "w")
    content = bytearray(path.read_bytes())
    place = content.index(state["layer3.0.conv2.weight"].numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert "damaged" in refusal(lambda: load_state(path))


def test_other_kinds_of_files(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(random.Random(1).randbytes(5000))
    assert "is no PyTorch checkpoint" in refusal(lambda: load_state(path))
    path.write_text("resnet20: see the release page\n" * 50)
    assert "is no PyTorch checkpoint" in refusal(lambda: load_state(path))
    path.write_bytes(pickle.dumps({"model": {"fc.weight": [1.0, 2.0]}}))
    assert "is no PyTorch checkpoint" in refusal(lambda: load_state(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thesis/chapter1.txt", "Distillation")
    assert "is an archive with thesis/chapter1.txt in it" in refusal(lambda: load_state(path))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_named_and_never_runs(state: State, tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / "trap"
    path = saved({"model": state, "extra": Trap(trap)}, tmp_path / "w", legacy=legacy)
    message = refusal(lambda: load_state(path))
    assert "posix.mkdir" in message
    assert "could run code" in message
    assert not trap.exists()

    saved(build("resnet8", CLASSES), path, legacy=legacy)
    assert "needs trainables.models.resnet.ResNet" in refusal(lambda: load_state(path))


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1, 2],
        torch.ones(3),
        {"model": {}},
        {"epoch": 3, "best_acc": 71.6},
        {"model": {"fc.weight": [1.0, 2.0]}},
        {3: torch.ones(2)},
        {"fc.weight": torch.eye(3).to_sparse_coo()},
        {"fc.weight": torch.empty(3, device="meta")},
        {"fc.weight": torch.ones(3, dtype=torch.complex64)},
    ],
    ids=[
        "empty",
        "list",
        "tensor",
        "empty model",
        "numbers",
        "lists",
        "number as key",
        "sparse",
        "meta",
        "complex",
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_files_without_weights(tmp_path: Path, content: Any) -> None:
    assert 'save {"model": model.state_dict()}' in refusal(lambda: load_state(saved(content, tmp_path / "w")))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinite_weights(state: State, tmp_path: Path, value: float) -> None:
    broken = {key: tensor.clone() for key, tensor in state.items()}
    broken["layer2.0.bn1.running_var"][3] = value
    message = refusal(lambda: load_state(saved(broken, tmp_path / "w")))
    assert "NaN or infinite weights, first in layer2.0.bn1.running_var (1 of " in message


def test_misfits_are_named_three_at_most_and_nothing_is_changed(state: State, tmp_path: Path) -> None:
    wrong = dict(state)
    del wrong["conv1.weight"]
    wrong["bn1.weight"] = torch.ones(17)
    wrong["fc2.bias"] = torch.ones(2)
    path = saved(wrong, tmp_path / "w")
    network = build("resnet8", CLASSES)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert refusal(lambda: load_weights(network, path, "resnet8")) == (
        f"{path} does not fit resnet8: conv1.weight is missing; bn1.weight is 17 instead of 16; "
        "fc2.bias is unexpected; check the network's name, or save its weights alone"
    )
    wrong["fc3.bias"] = wrong["fc4.bias"] = torch.ones(2)
    message = refusal(lambda: load_weights(network, saved(wrong, path), "resnet8"))
    assert "fc2.bias is unexpected; and 2 more; check" in message
    assert_equal(network.state_dict(), before)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("resnet8", "layer1.1.conv1.weight is unexpected"),
        ("resnet8x4", "conv1.weight is 16x3x3x3 instead of 32x3x3x3"),
        ("vgg8", "block0.0.weight is missing"),
    ],
)
def test_another_architecture(tmp_path: Path, name: str, named: str) -> None:
    path = tmp_path / "resnet14"
    save_weights(build("resnet14", 100), path)
    message = refusal(lambda: load_weights(build(name, 100), path, name))
    assert f"does not fit {name}: {named}" in message
    assert len(message) < 400 + len(str(path))


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV2"])
def test_another_number_of_classes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "w"
    save_weights(build(name, 100), path)
    message = refusal(lambda: load_weights(build(name, 10), path, name))
    assert f"is a {name} of 100 classes, and 10 are needed" in message


def test_whole_numbers_are_no_weights(state: State, tmp_path: Path) -> None:
    path = saved(state | {"conv1.weight": torch.ones(16, 3, 3, 3, dtype=torch.int64)}, tmp_path / "w")
    message = refusal(lambda: load_weights(build("resnet8", CLASSES), path, "resnet8"))
    assert "conv1.weight is torch.int64 instead of torch.float32" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"weights", mtime=0), "is compressed: unpack it with gunzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS, not the file: git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not the file behind it"),
        (b"text", "is no PyTorch checkpoint: give a file that torch.save wrote"),
    ],
)
def test_what_is_taken_for_weights_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    (path := tmp_path / "a.pth").write_bytes(content)
    assert words in refusal(lambda: load_state(path))


def test_an_archive_of_other_files_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"conv1.weight": np.zeros(3)})
    assert "is an archive with conv1.weight.npy in it: unpack it, or" in refusal(lambda: load_state(tmp_path / "a.npz"))


def test_a_program_of_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("a/constants.pkl", b"")
    assert "is a TorchScript program: save its weights alone" in refusal(lambda: load_state(path))


@pytest.mark.parametrize("name", ["PosixPath", "defaultdict", "ndarray"])
def test_types_that_are_let_in_call_nothing_of_the_file(tmp_path: Path, name: str) -> None:
    """A constructor that is handed a function to call."""
    kinds = {"PosixPath": PosixPath, "defaultdict": defaultdict, "ndarray": np.ndarray}

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return kinds[name], (os.getcwd,)

    assert "which could run code" in refusal(lambda: load_state(saved({"model": {}, "a": Trap()}, tmp_path / "a.pth")))
