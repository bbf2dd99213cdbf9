"""Test accuracy of a network: top-1, top-5 and cross-entropy over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.data.dataset import Dataset
from trainables.data.stream import normalise

BATCH = {"cpu": 250, "cuda": 2000}


class Scores(NamedTuple):
    """top1, top5 in per cent; loss: mean cross-entropy in nats. top5 is 100 where there are five classes or fewer."""

    top1: float
    top5: float
    loss: float


def autocast(device: str, precision: str) -> torch.autocast:
    """bf16: matrix products and convolutions in bfloat16, weights stay float32. fp32: nothing."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def evaluate(logits_of: Callable[[Tensor], Tensor], dataset: Dataset, *, batch_size: int | None = None) -> Scores:
    """Scores on the test images. The device is asked for the numbers once, at the end."""
    images, labels = dataset.test.images, dataset.test.labels
    batch = batch_size or BATCH[images.device.type]
    sums = torch.zeros(3, dtype=torch.float64, device=images.device)
    for part, truth in zip(images.split(batch), labels.split(batch), strict=True):
        logits = logits_of(normalise(part, dataset.mean, dataset.std)).float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
        loss = cross_entropy(logits, truth, reduction="sum")
        sums += torch.stack([best[:, 0].sum(), best.sum(), loss]).double()
    top1, top5, loss_sum = (sums / len(labels)).tolist()
    return Scores(100 * top1, 100 * top5, loss_sum)


def evaluate_model(model: nn.Module, dataset: Dataset, precision: str, *, batch_size: int | None = None) -> Scores:
    """Scores of a network in evaluation mode; its mode is left as it was."""
    training = model.training
    model.eval()
    with autocast(dataset.test.images.device.type, precision):
        scores = evaluate(model, dataset, batch_size=batch_size)
    model.train(training)
    return scores
