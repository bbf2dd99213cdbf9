"""Checkpoints: every wrapping loads, every kind of bad file is one line, and saving is atomic and reproducible."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import random
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trainables.errors import UserError
from trainables.models import build
from trainables.models.checkpoint import load_state, load_weights, save_weights, sha256

CLASSES = 4
REAL = {"resnet20": "resnet20_energykd", "wrn_16_2": "wrn_16_2_energykd"}

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights that no fresh network has, statistics included."""
    torch.manual_seed(5)
    network = build("resnet8", CLASSES)
    return {key: torch.rand_like(value) if value.ndim else value + 7 for key, value in network.state_dict().items()}


def data() -> Path:
    if "EKD_DATA" not in os.environ:
        pytest.skip("EKD_DATA does not name the folder with the reference data")
    return Path(os.environ["EKD_DATA"]) / "data"


def saved(content: Any, path: Path, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_equal(first: State, second: State) -> None:
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def refusal(action: Callable[[], object]) -> str:
    """The one line that the user sees."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert message == message.strip()
    return message


# Files that load


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "epoch": 240, "best_acc": torch.tensor(71.6), "optimizer": {"state": {}}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"opt": argparse.Namespace(lr=0.05, milestones=[150, 180]), "model": state},
        lambda state: {"model": {key: nn.Parameter(value, False) for key, value in state.items()}},
    ],
    ids=["bare", "ordered", "model", "state_dict", "nested", "options", "parameters"],
)
def test_wrappings_load(state: State, tmp_path: Path, wrap: Callable[[State], Any], legacy: bool) -> None:
    path = saved(wrap(state), tmp_path / "w.pth", legacy=legacy)
    assert_equal(load_state(path), state)
    network = build("resnet8", CLASSES)
    assert load_weights(network, path, "resnet8") == sha256(path)
    assert_equal(network.state_dict(), state)


@settings(max_examples=25, deadline=None)
@given(prefixes=st.lists(st.sampled_from(["module.", "student.", "_orig_mod."]), max_size=5))
def test_prefixes_are_stripped_in_any_order_and_depth(
    state: State, tmp_path_factory: pytest.TempPathFactory, prefixes: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "prefixed.pth"
    saved({"model": {"".join(prefixes) + key: value for key, value in state.items()}}, path)
    assert_equal(load_state(path), state)


def test_of_a_distiller_the_student_is_loaded(state: State, tmp_path: Path) -> None:
    both = {f"module.teacher.{key}": torch.zeros_like(value) for key, value in state.items()}
    both |= {f"module.student.{key}": value for key, value in state.items()}
    both["module.connector.weight"] = torch.ones(3)
    assert_equal(load_state(saved({"model": both}, tmp_path / "best")), state)


def test_files_without_counters_or_in_half_precision_load(state: State, tmp_path: Path) -> None:
    halves = {key: value.half() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    network = build("resnet8", CLASSES)
    load_weights(network, saved(halves, tmp_path / "old"), "resnet8")
    loaded = network.state_dict()
    assert all(torch.equal(loaded[key], value.float()) for key, value in halves.items())
    assert int(loaded["bn1.num_batches_tracked"]) == 0


def test_a_file_that_an_old_torch_saved_on_a_gpu_loads(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path / "old_gpu", legacy=True)
    content = path.read_bytes().replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    content = content.replace(b"ctorch\nLongStorage\n", b"ctorch.cuda\nLongStorage\n")
    content = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert b"cuda:0" in content
    path.write_bytes(content)
    loaded = load_state(path)
    assert_equal(loaded, state)
    assert {value.device.type for value in loaded.values()} == {"cpu"}


@pytest.mark.parametrize("name", REAL)
def test_checkpoints_of_the_authors_recognise_cifar100(name: str) -> None:
    path = data() / "checkpoints" / REAL[name]
    with zipfile.ZipFile(path) as archive:
        pickled = next(part for part in archive.namelist() if part.endswith("data.pkl"))
        assert b"cuda" in archive.read(pickled)
    network = build(name, 100).eval()
    assert load_weights(network, path, name) == sha256(path)

    rows = parquet.read_table(data() / "cifar100" / "test-00000-of-00001.parquet").slice(0, 400).to_pylist()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))) for row in rows])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)))
    batch = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    labels = torch.tensor([row["fine_label"] for row in rows])
    with torch.inference_mode():
        correct = (network(batch).argmax(dim=1) == labels).float().mean()
    assert 0.65 < correct < 0.82


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert "check the path" in refusal(lambda: sha256(tmp_path / "none"))


# Files that do not


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
    assert "another kind of file" in refusal(lambda: load_state(path))


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


# Weights of another network


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
        "fc2.bias is unexpected; check the network's name"
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


# Saving


def test_what_is_saved_is_loaded(state: State, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "w.pth"
    network = build("resnet8", CLASSES)
    network.load_state_dict(state)
    assert save_weights(network, path) == sha256(path)
    assert_equal(load_state(path), state)
    assert list(torch.load(path, weights_only=True)) == ["model"]
    assert [file.name for file in path.parent.iterdir()] == ["w.pth"]


def test_equal_weights_give_equal_files(state: State, tmp_path: Path) -> None:
    network = build("resnet8", CLASSES)
    network.load_state_dict(state)
    flat = torch.cat([value.float().flatten() for value in state.values()])
    parts = flat.split([value.numel() for value in state.values()])
    views = {
        key: part.view(value.shape) if value.is_floating_point() else value
        for (key, value), part in zip(state.items(), parts, strict=True)
    }
    hashes = {
        save_weights(network, tmp_path / "module"),
        save_weights(network.to(memory_format=torch.channels_last), tmp_path / "another name"),
        save_weights(state, tmp_path / "state"),
        save_weights(views, tmp_path / "views"),
        save_weights(load_state(tmp_path / "module"), tmp_path / "again"),
    }
    assert len(hashes) == 1
    views["conv1.weight"][0, 0, 0, 0] += 1
    assert save_weights(views, tmp_path / "changed") not in hashes


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_failed_save_keeps_the_old_file(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "w"
    before = save_weights(state, path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fails, full)
    changed = {key: value + 1 for key, value in state.items()}
    assert "no space left on device" in refusal(lambda: save_weights(changed, path))
    assert sha256(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["w"]


def test_a_place_that_cannot_be_written(state: State, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file: file exists: name another" in refusal(lambda: save_weights(state, tmp_path / "file" / "w"))
    (tmp_path / "folder").mkdir()
    assert "is a directory: name a file, or remove it" in refusal(lambda: save_weights(state, tmp_path / "folder"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("name", ["net", "model_state_dict", "student", "weights", "ema"])
def test_values_of_other_types_beside_the_weights(state: State, tmp_path: Path, name: str) -> None:
    counts: defaultdict[str, list[float]] = defaultdict(list)
    counts["loss"].append(0.5)
    beside = {
        "accuracy": np.float64(71.5),
        "curve": np.arange(3.0),
        "names": np.array(["a", "b"]),
        "folder": Path("/a/b"),
        "counts": counts,
        "options": argparse.Namespace(lr=np.float32(0.1)),
    }
    for legacy in (False, True):
        assert_equal(load_state(saved({name: state, **beside}, tmp_path / "a.pth", legacy=legacy)), state)


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "module._orig_mod.model.", "net.module.backbone."])
def test_modules_around_the_network(state: State, tmp_path: Path, prefix: str) -> None:
    wrapped = {prefix + key: value for key, value in state.items()}
    assert_equal(load_state(saved({"state_dict": wrapped}, tmp_path / "a.pth")), state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_protocols_of_pickle(protocol: int, zipped: bool, state: State, tmp_path: Path) -> None:
    """Read where torch reads them without running code; else the real cause is named, and no damage."""
    path = tmp_path / "a.pth"
    torch.save({"model": state}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    if protocol == 3:
        assert_equal(load_state(path), state)
        return
    message = refusal(lambda: load_state(path))
    assert f"was saved by pickle's protocol {protocol}, and only those up to 3 are read" in message
    assert message.endswith("without pickle_protocol")


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


def test_counters_of_another_type_and_names_without_weights(state: State, tmp_path: Path) -> None:
    """`{key: value.half() ...}` makes numbers of a counter that has no effect."""
    network = build("resnet8", CLASSES)
    halved = {key: value.half() for key, value in state.items()}
    load_weights(network, saved({"model": {}, "net": halved}, tmp_path / "a.pth"), "resnet8")
    assert all(torch.equal(value, halved[key].to(value.dtype)) for key, value in network.state_dict().items())


def test_averaged_weights(state: State, tmp_path: Path) -> None:
    network = build("resnet8", CLASSES)
    network.load_state_dict(state)
    averaged = AveragedModel(nn.DataParallel(network))
    assert_equal(load_state(saved({"model": averaged.state_dict()}, tmp_path / "a.pth")), state)


def test_safetensors(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = pytest.importorskip("safetensors.torch")
    content = reader.save({f"model.{key}": value for key, value in state.items()})
    (path := tmp_path / "resnet8.safetensors").write_bytes(content)
    network = build("resnet8", CLASSES)
    load_weights(network, path, "resnet8")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    path.write_bytes(content[:-5])
    assert "is no whole" in refusal(lambda: load_state(path))
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert refusal(lambda: load_state(path)).endswith("needs a package that is not installed: pip install safetensors")


@pytest.mark.parametrize("name", ["PosixPath", "defaultdict", "ndarray"])
def test_types_that_are_let_in_call_nothing_of_the_file(tmp_path: Path, name: str) -> None:
    """A constructor that is handed a function to call."""
    kinds = {"PosixPath": PosixPath, "defaultdict": defaultdict, "ndarray": np.ndarray}

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return kinds[name], (os.getcwd,)

    assert "which could run code" in refusal(lambda: load_state(saved({"model": {}, "a": Trap()}, tmp_path / "a.pth")))
