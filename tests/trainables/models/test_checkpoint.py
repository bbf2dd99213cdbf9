"""Checkpoints: every wrapping loads, and saving is atomic and reproducible."""

from __future__ import annotations

import argparse
import io
import os
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from few import fast
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel
from weight_files import CLASSES, State, assert_equal, refusal, saved

from trainables.models import build
from trainables.models.checkpoint import load_state, load_weights, save_weights, sha256

REAL = {"resnet20": "resnet20_energykd", "wrn_16_2": "wrn_16_2_energykd"}


def data() -> Path:
    if "EKD_DATA" not in os.environ:
        pytest.skip("EKD_DATA does not name the folder with the reference data")
    return Path(os.environ["EKD_DATA"]) / "data"


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


@pytest.mark.parametrize("name", fast(REAL, "resnet20"))
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


# Weights of another network


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
