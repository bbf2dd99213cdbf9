"""What networks answer, as numpy arrays: the numbers and the pixels that pictures of them are drawn from.

Answers are in float32, whatever precision the network was trained at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ekd_core import energy, energy_thresholds
from trainables.data.source import UNREADABLE, Source
from trainables.datasets import load
from trainables.errors import UserError
from trainables.models import Network, build
from trainables.models.checkpoint import load_weights
from trainables.training.evaluation import BATCH, choose_batch_size, training_kernels

Arrays = dict[str, np.ndarray]
ENDS = ("low", "high")


@dataclass(frozen=True)
class Images:
    """Which images a network is shown; the fields but `data_dir` are a run's. augmentation, seed: of training images
    where they are shown as training sees them."""

    dataset: str
    data_dir: Path | None = None
    data: str = ""
    train_fraction: float = 1.0
    imbalance: float = 1.0
    augmentation: str = "none"
    seed: int = 1
    normalisation: str = "own"


def certainty(network: str, weights: Path, images: Images, *, count: int, device: str = "") -> Arrays:
    """How certain a network is of the training images, by their energy.

    Of every image as it is: `energies`, `labels`, `predicted`, `confidence`. Of the `low` and of the `high` end:
    `END_index` and `END_pixels`, its first `count` images by `extremes`. `classes`, `fingerprint`, `sha256`: of what.
    """
    model, dataset, said = _open_weights(network, weights, images, device)
    size = choose_batch_size(BATCH, dataset.device, dataset.side)
    parts = [(_read_outputs(model, batch)[0].cpu(), labels.cpu()) for batch, labels in dataset.scan("train", size)]
    logits, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    best = logits.softmax(dim=1).max(dim=1)
    found = said | {
        "energies": energy(logits).numpy(),
        "labels": labels.numpy(),
        "predicted": best.indices.numpy(),
        "confidence": best.values.numpy(),
    }
    index = [extremes(found["energies"], found["labels"], count, highest=end == "high") for end in ENDS]
    shown = np.split(pixels(dataset, "train", np.concatenate(index)), len(ENDS))
    for end, images_of, pixels_of in zip(ENDS, index, shown, strict=True):
        found |= {f"{end}_index": images_of, f"{end}_pixels": pixels_of}
    return found


def predictions(network: str, weights: Path, images: Images, *, rate: float, device: str = "") -> Arrays:
    """What a network predicts at the `low` and at the `high` end of the energies, which hold the share `rate` each.

    Of the training images as training sees them: each once, augmented as a run with `seed` sets its thresholds by.
    `END_by_rank` (C,): the mean of the images' probabilities, each image's in falling order; `END_by_class` (C, C): the
    mean probabilities of its images of each class; `END_count` (C,): how many those are. And `classes`, `fingerprint`,
    `sha256`.
    """
    found = training_logits(network, weights, images, device=device)
    logits, labels = torch.from_numpy(found.pop("logits")), found.pop("labels")
    said, energies = found, energy(logits)
    low, high = energy_thresholds(energies, rate, rate)
    for end, inside in zip(ENDS, (energies < low, energies > high), strict=True):
        means = _mean_predictions(logits[inside], labels[inside.numpy()])
        said |= {f"{end}_{name}": array for name, array in means.items()}
    return said


def training_logits(network: str, weights: Path, images: Images, *, device: str = "") -> Arrays:
    """Of the training images as training sees them (`predictions`): `logits` (N, C) and `labels`."""
    model, dataset, said = _open_weights(network, weights, images, device)
    stream = dataset.stream(seed=images.seed, batch_size=2, augmentation=images.augmentation)
    batches = stream.each_once(choose_batch_size(BATCH, dataset.device, dataset.side))
    logits = torch.cat([_read_outputs(model, batch)[0].cpu() for batch in batches])
    return said | {"logits": logits.numpy(), "labels": dataset.train_labels.cpu().numpy()}


def answers(network: str, weights: Path, images: Images, *, device: str = "") -> Arrays:
    """Of every readable test image `logits` (N, C), `pooled` features (N, K), and `labels`."""
    model, dataset, said = _open_weights(network, weights, images, device)
    size = choose_batch_size(BATCH, dataset.device, dataset.side)
    parts = [(*_read_outputs(model, batch), labels) for batch, labels in dataset.scan("test", size)]
    logits, pooled, labels = (torch.cat(tensors).cpu().numpy() for tensors in zip(*parts, strict=True))
    readable = labels != UNREADABLE
    return said | {"logits": logits[readable], "pooled": pooled[readable], "labels": labels[readable]}


def extremes(energies: np.ndarray, labels: np.ndarray, count: int, *, highest: bool) -> np.ndarray:
    """The places of the `count` images of lowest or highest energy, no class again before all others had their turn.

    Each class offers its own most extreme image; these come in the order of their energies; then each class's second.
    """
    order = np.argsort(-energies if highest else energies, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    sizes = np.bincount(labels)
    turn = np.empty_like(place)
    turn[np.lexsort((place, labels))] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.lexsort((place, turn))[:count]


def pixels(dataset: Source, split: str, index: Sequence[int] | np.ndarray) -> np.ndarray:
    """The images at some places of a split as uint8 (n, H, W, 3), in that order."""
    found: dict[int, np.ndarray] = {}
    mean, std = (
        torch.tensor(channels, device=dataset.device)[:, None, None] for channels in (dataset.mean, dataset.std)
    )
    wanted = np.unique(index)
    start = 0
    for images, _ in dataset.scan(split, choose_batch_size(BATCH, dataset.device, dataset.side)):
        for place in wanted[(wanted >= start) & (wanted < start + len(images))].tolist():
            values = (images[place - start] * std + mean) * 255
            found[place] = values.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        start += len(images)
    return np.stack([found[int(place)] for place in index])


def _open_weights(network: str, weights: Path, images: Images, device: str) -> tuple[Network, Source, Arrays]:
    """The network with its weights and the data set, on one device, and what says which they are."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    source = load(images.dataset, images.data_dir, train_fraction=images.train_fraction, imbalance=images.imbalance)
    dataset = source.normalised(images.normalisation).to(device)
    if images.data and not dataset.fingerprint.startswith(images.data):
        raise UserError(f"the images in {images.data_dir} have changed since the networks were trained on them")
    model = build(network, dataset.num_classes, dataset.side)
    digest = load_weights(model, weights, network)
    model = model.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    said = {"classes": dataset.classes, "fingerprint": dataset.fingerprint, "sha256": digest}
    return model, dataset, {name: np.array(value) for name, value in said.items()}


@torch.inference_mode()
def _read_outputs(model: Network, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and pooled features, without the maps, which need not last until the next batch."""
    with training_kernels():
        outputs = model.forward_features(images.contiguous(memory_format=torch.channels_last))
    if not bool(outputs.logits.isfinite().all()):
        raise UserError("these weights give NaN or infinite logits: use weights of a training that did not diverge")
    return outputs.logits, outputs.pooled


def _mean_predictions(logits: torch.Tensor, labels: np.ndarray) -> Arrays:
    """The mean of the sorted probabilities, and the mean probabilities of each class's images (0 where it has none)."""
    classes = logits.shape[1]
    by_rank = torch.zeros(classes, dtype=torch.float64)
    by_class = torch.zeros(classes, classes, dtype=torch.float64)
    truth = torch.from_numpy(labels)
    for part, classes_of in zip(logits.split(BATCH["cuda"]), truth.split(BATCH["cuda"]), strict=True):
        probabilities = part.double().softmax(dim=1)
        by_rank += probabilities.sort(dim=1, descending=True).values.sum(dim=0)
        by_class.index_add_(0, classes_of, probabilities)
    count = np.bincount(labels, minlength=classes)
    return {
        "by_rank": by_rank.numpy() / max(len(labels), 1),
        "by_class": by_class.numpy() / np.maximum(count, 1)[:, None],
        "count": count,
    }
