"""torchvision's ResNets against torchvision itself; its published weights: addresses, downloads, complaints."""

from __future__ import annotations

import gc
import hashlib
import http.client
import math
import re
from pathlib import Path
from typing import NoReturn

import pytest
import torch
import torchvision
from few import fast
from small_jobs import one_line
from torch import Tensor

from trainables.errors import UserError
from trainables.models import build, names
from trainables.models import published as module
from trainables.models.checkpoint import load_weights, save_weights
from trainables.models.published import fetch, find_fetched, find_published

WITH_WEIGHTS = ("imagenet_resnet18", "imagenet_resnet34", "imagenet_resnet50")
NAME = "imagenet_resnet34"


def sines(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other weights than any that a network starts with, of the same scale."""
    filled = {}
    for number, (key, tensor) in enumerate(state.items()):
        wave = torch.sin(0.37 * torch.arange(tensor.numel(), dtype=torch.float64) + number).reshape(tensor.shape)
        if tensor.ndim >= 2:
            filled[key] = wave / math.sqrt(tensor[0].numel())
        else:
            filled[key] = (0.1 * wave + key.endswith(("running_var", ".weight"))).to(tensor.dtype)
    return filled


@pytest.mark.medium
@pytest.mark.parametrize("name", fast(WITH_WEIGHTS, "imagenet_resnet18"))
def test_identical_to_torchvisions_network(name: str) -> None:
    theirs = torchvision.models.get_model(name.removeprefix("imagenet_")).double().eval()
    ours = build(name, 1000).double().eval()
    state = sines(theirs.state_dict())
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == [
        (key, value.shape) for key, value in state.items()
    ]
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    images = torch.sin(0.05 * torch.arange(2 * 3 * 96 * 96, dtype=torch.float64)).reshape(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-9, atol=1e-9)


def test_torchvisions_weights_load_as_they_are(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18()
    # As the published files: the state dict itself.
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = build("imagenet_resnet18", 1000)
    load_weights(ours, tmp_path / "theirs.pth", "imagenet_resnet18")
    assert all(torch.equal(value, ours.state_dict()[key]) for key, value in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("name", "top1"), [("imagenet_resnet18", 69.76), ("imagenet_resnet34", 73.31), ("imagenet_resnet50", 76.13)]
)
def test_addresses_are_those_of_the_papers_teachers(name: str, top1: float) -> None:
    source = find_published(name)
    assert source is not None
    url, digest = source
    theirs = name.removeprefix("imagenet_")
    assert re.fullmatch(rf"https://\S+/{theirs}-{digest}\.pth", url)
    assert re.fullmatch("[0-9a-f]{8,}", digest)
    weights = next(each for each in torchvision.models.get_model_weights(theirs) if each.url == url)
    assert weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] == pytest.approx(top1, abs=0.006)


def test_other_networks_have_none(tmp_path: Path) -> None:
    assert {name for name in names() if find_published(name)} == set(WITH_WEIGHTS)
    assert find_published("resnet34") is None
    with pytest.raises(UserError) as caught:
        fetch("MobileNetV1", tmp_path)
    assert "no weights of MobileNetV1 are published" in one_line(caught)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that takes the place of the published one; a download moves it into another folder."""
    file = tmp_path / "there" / "resnet34-12345678.pth"
    file.parent.mkdir()
    save_weights({"weight": torch.ones(3)}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(module, "find_published", lambda name: (file.as_uri(), digest))
    return file


def test_a_file_is_downloaded_once(source: Path, tmp_path: Path) -> None:
    path = fetch(NAME, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / source.name
    assert path.read_bytes() == source.read_bytes()
    assert list(path.parent.iterdir()) == [path]
    source.unlink()
    assert fetch(NAME, path.parent) == path


def test_a_damaged_file_is_downloaded_again(source: Path, tmp_path: Path) -> None:
    (tmp_path / source.name).write_bytes(source.read_bytes()[:-1])
    assert fetch(NAME, tmp_path).read_bytes() == source.read_bytes()


def test_what_is_not_there_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    source.unlink()
    with pytest.raises(UserError) as caught:
        fetch(NAME, tmp_path / "here")
    message = one_line(caught)
    assert message.startswith(f"cannot download the weights of {NAME} (")
    assert message.endswith(f": try again, or fetch {source.as_uri()} by hand into {tmp_path / 'here'}")
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_wrong_checksum_keeps_what_was_there(source: Path, tmp_path: Path) -> None:
    (tmp_path / source.name).write_bytes(b"old")
    source.write_bytes(b"new")
    with pytest.raises(UserError) as caught:
        fetch(NAME, tmp_path)
    assert "invalid hash value" in one_line(caught)
    assert (tmp_path / source.name).read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, "there"]
    gc.collect()  # PyTorch 2.6 leaves the source open.


def test_a_folder_that_cannot_be_made(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        fetch(NAME, tmp_path / "file" / "folder")
    assert str(tmp_path / "file") in one_line(caught)


def test_a_connection_that_breaks(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> NoReturn:
        raise http.client.RemoteDisconnected("")

    monkeypatch.setattr(torch.hub, "urlopen", broken)
    with pytest.raises(UserError) as caught:
        fetch(NAME, tmp_path / "here")
    assert "(RemoteDisconnected)" in one_line(caught)
    assert not list((tmp_path / "here").iterdir())


def test_weights_in_the_libraries_caches_are_found_and_nothing_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(module, "sha256", lambda path: "f37072fd" + path.read_text())
    (place := tmp_path / "torch" / "checkpoints").mkdir(parents=True)
    assert find_fetched("torchvision:resnet18", tmp_path) is None
    (place / "resnet18-f37072fd.pth").write_text("")
    assert find_fetched("torchvision:resnet18", tmp_path) == place / "resnet18-f37072fd.pth"
    assert find_fetched("torchvision:resnet18+zero_init_residual=true", tmp_path) is None
    pytest.importorskip("timm", reason="timm is not installed")
    asked: list[tuple[str, str]] = []

    def cached(repository: str, file: str) -> str | None:
        asked.append((repository, file))
        return str(place / file) if file.endswith("bin") else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    assert find_fetched("timm:resnet18", tmp_path) == place / "pytorch_model.bin"
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors"), ("timm/resnet18.a1_in1k", "pytorch_model.bin")]
    # Made for images that are normalised otherwise.
    assert find_fetched("timm:test_vit", tmp_path) is None


def test_weights_of_timm_are_downloaded_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *where: "/".join(where))
    assert fetch("timm:resnet18", tmp_path) == Path("timm/resnet18.a1_in1k/model.safetensors")

    def fail(*_: str) -> NoReturn:
        raise RuntimeError("no\nway")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(UserError) as caught:
        fetch("timm:resnet18", tmp_path)
    assert "timm/resnet18.a1_in1k (no way): try again, or give the file as --teachers timm_resnet18.saf" in one_line(
        caught
    )
