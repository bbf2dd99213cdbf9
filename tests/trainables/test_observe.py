"""What is observed of a network, against plain loops and float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_jobs import seasoned
from torch import Tensor
from torch.backends import cudnn

from trainables import evaluate, observe
from trainables.data.dataset import Dataset, Split
from trainables.datasets import load
from trainables.errors import UserError
from trainables.models import Outputs, build
from trainables.models.checkpoint import save_weights
from trainables.observe import Arrays, Images, answers, certainty, extremes, pixels, predictions

IMAGES = Images("digits", train_fraction=0.2)
RATE = 0.3
COUNT = 25


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    found = load("digits", None, train_fraction=IMAGES.train_fraction)
    assert isinstance(found, Dataset)
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet8.pth"
    save_weights(seasoned("resnet8"), path)
    return path


@pytest.fixture(scope="module")
def observed(weights: Path) -> Arrays:
    return certainty("resnet8", weights, IMAGES, count=COUNT, device="cpu")


def logits_of(dataset: Dataset, split: Split) -> np.ndarray:
    """In float64, of images normalised here."""
    mean, std = (torch.tensor(channels, dtype=torch.float64) for channels in (dataset.mean, dataset.std))
    images = ((split.images.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits: np.ndarray = seasoned("resnet8").double()(images).numpy()
    return logits


@pytest.fixture(scope="module")
def logits(dataset: Dataset) -> np.ndarray:
    return logits_of(dataset, dataset.train)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_energies_predictions_and_confidences_are_those_of_a_plain_loop(
    observed: Arrays, logits: np.ndarray, dataset: Dataset
) -> None:
    by_hand = [-4 * np.log(sum(np.exp(value / 4) for value in row)) for row in logits]
    assert observed["energies"] == pytest.approx(by_hand, abs=1e-3)
    assert (observed["predicted"] == logits.argmax(axis=1)).all()
    assert observed["confidence"] == pytest.approx(softmax(logits).max(axis=1), abs=1e-4)
    assert (observed["labels"] == dataset.train.labels.numpy()).all()
    assert tuple(observed["classes"]) == dataset.classes
    assert observed["fingerprint"] == dataset.fingerprint


@pytest.mark.parametrize("end", ["low", "high"])
def test_the_means_are_of_the_share_at_either_end(weights: Path, dataset: Dataset, end: str) -> None:
    """Of the images as training sees them: the same crops as a run of that seed takes its thresholds from."""
    seen = replace(IMAGES, augmentation="crop", seed=3)
    found = predictions("resnet8", weights, seen, rate=RATE, device="cpu")
    crops = torch.cat(list(dataset.stream(seed=3, batch_size=9, augmentation="crop").each_once(100)))
    with torch.no_grad():
        logits = seasoned("resnet8").double()(crops.double()).numpy()
    size = int(len(logits) * RATE)
    order = np.argsort(-4 * np.log(np.exp(logits / 4).sum(axis=1)))
    inside = order[:size] if end == "low" else order[-size:]
    probabilities = softmax(logits[inside])
    labels = dataset.train.labels.numpy()[inside]
    assert found[f"{end}_count"].sum() == size
    assert found[f"{end}_by_rank"] == pytest.approx(-np.sort(-probabilities, axis=1).mean(axis=0), abs=1e-5)
    for label in range(10):
        own = probabilities[labels == label]
        assert found[f"{end}_count"][label] == len(own)
        expected = own.mean(axis=0) if len(own) else np.zeros(10)
        assert found[f"{end}_by_class"][label] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("end", ["low", "high"])
def test_chosen_images_are_the_extremes_with_their_own_pixels(observed: Arrays, dataset: Dataset, end: str) -> None:
    sign = 1 if end == "low" else -1
    index, energies, labels = observed[f"{end}_index"], sign * observed["energies"], observed["labels"]
    assert len(set(index.tolist())) == COUNT
    assert index[0] == energies.argmin()
    for start in (0, 10):
        turn = index[start : start + 10]
        assert sorted(labels[turn]) == list(range(10))
        assert (np.diff(energies[turn]) >= 0).all()
        for image in turn:
            ahead = (labels == labels[image]) & (energies < energies[image])
            assert ahead.sum() == start // 10
    assert (observed[f"{end}_pixels"] == dataset.train.images[torch.from_numpy(index)].numpy()).all()


def test_the_order_of_images_is_that_of_taking_turns() -> None:
    rng = np.random.default_rng(0)
    energies, labels = rng.integers(0, 9, 60).astype(np.float32), rng.integers(0, 7, 60)
    for highest in (False, True):
        left = sorted(range(60), key=lambda image: (-energies[image] if highest else energies[image], image))
        expected: list[int] = []
        while left:
            firsts = {labels[image]: image for image in reversed(left)}
            turn = [image for image in left if firsts[labels[image]] == image]
            expected += turn
            left = [image for image in left if image not in turn]
        assert extremes(energies, labels, 60, highest=highest).tolist() == expected
        assert extremes(energies, labels, 8, highest=highest).tolist() == expected[:8]


def test_every_pixel_value_survives_normalising_and_back(dataset: Dataset) -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(3, 1, 1, 3)
    values[1] = values[1].flip(0)
    split = Split(values.contiguous(), torch.tensor([0, 1, 2]))
    colours = replace(dataset, test=split, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
    assert (pixels(colours, "test", [2, 1, 1]) == values[[2, 1, 1]].numpy()).all()


def test_answers_are_of_the_test_images(weights: Path, dataset: Dataset) -> None:
    found = answers("resnet8", weights, IMAGES, device="cpu")
    assert found["logits"] == pytest.approx(logits_of(dataset, dataset.test), abs=1e-3)
    assert (found["labels"] == dataset.test.labels.numpy()).all()
    classifier = list(seasoned("resnet8").state_dict().values())[-2:]
    weight, bias = (tensor.numpy() for tensor in classifier)
    assert found["pooled"] @ weight.T + bias == pytest.approx(found["logits"], abs=1e-3)


def test_test_images_that_cannot_be_read_are_left_out(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(Dataset):
        def scan(self, split: str, size: int, *_: object) -> Iterator[tuple[Tensor, Tensor]]:
            for images, labels in super().scan(split, size):
                yield images, torch.where(torch.arange(len(labels)) % 3 == 0, -1, labels)

    whole = load("digits", None)
    assert isinstance(whole, Dataset)
    monkeypatch.setattr(observe, "load", lambda *_, **__: Damaged(**vars(whole)))
    found = answers("resnet8", weights, IMAGES, device="cpu")
    kept = [image for image in range(whole.test_size) if image % observe.BATCH["cpu"] % 3]
    assert (found["labels"] == whole.test.labels[kept].numpy()).all()
    assert len(found["logits"]) == len(found["pooled"]) == len(kept)


def test_convolutions_are_those_of_training(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU: without TF32, and the same every time. What others have set is left as it was."""
    found = []
    network = type(build("resnet8", 10))
    ask = network.forward_features

    def watched(self: Any, images: Tensor) -> Outputs:
        found.append((cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark))
        return ask(self, images)

    monkeypatch.setattr(network, "forward_features", watched)
    before = cudnn.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32, cudnn.deterministic = True, False
    try:
        answers("resnet8", weights, IMAGES, device="cpu")
        assert set(found) == {(False, True, False)}
        assert (cudnn.allow_tf32, cudnn.deterministic) == (True, False)
    finally:
        cudnn.allow_tf32, cudnn.deterministic = before


def test_other_images_or_weights_are_refused(weights: Path, dataset: Dataset, tmp_path: Path) -> None:
    answers("resnet8", weights, replace(IMAGES, data=dataset.fingerprint[:16]), device="cpu")
    with pytest.raises(UserError, match="have changed since"):
        answers("resnet8", weights, replace(IMAGES, data="0" * 16), device="cpu")
    with pytest.raises(UserError, match="does not fit wrn_16_1"):
        answers("wrn_16_1", weights, IMAGES, device="cpu")
    with pytest.raises(UserError, match="no weights at"):
        certainty("resnet8", tmp_path / "gone.pt", IMAGES, count=1, device="cpu")


def test_weights_without_finite_answers_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)["model"]
    path = tmp_path / "diverged.pth"
    torch.save({name: value * 1e30 if value.is_floating_point() else value for name, value in state.items()}, path)
    with pytest.raises(UserError, match="NaN or infinite logits"):
        answers("resnet8", path, IMAGES)
    with pytest.raises(UserError, match=r"diverged\.pth gives NaN or infinite logits"):
        evaluate.main(["resnet8", str(path), "--dataset", "digits", "--json"])
