"""Test accuracy of a network: top-1, top-5 and cross-entropy over a whole split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.data.source import UNREADABLE, Source
from trainables.data.stream import WHOLE, Share

BATCH = {"cpu": 250, "cuda": 2000}
MOST_PIXELS = 2048 * 64**2


class Scores(NamedTuple):
    """top1, top5 in per cent; loss: mean cross-entropy in nats. top5 is 100 where there are five classes or fewer."""

    top1: float
    top5: float
    loss: float


def autocast(device: str, precision: str) -> torch.autocast:
    """bf16: matrix products and convolutions in bfloat16, weights stay float32. fp32: nothing."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def at_once(batch: Mapping[str, int], device: torch.device, side: int) -> int:
    """How many of such images a network is asked about together: of large ones fewer, whose maps would fill a GPU."""
    return max(1, min(batch[device.type], MOST_PIXELS // side**2))


@torch.no_grad()
def evaluate(
    logits_of: Callable[[Tensor], Tensor], dataset: Source, *, batch_size: int | None = None, share: Share = WHOLE
) -> Scores:
    """Scores on the test images, of which each device of a job takes its share. Asks for the numbers once, at the end.

    An image that cannot be read counts as wrong.
    """
    batch = batch_size or at_once(BATCH, dataset.device, dataset.side)
    sums = torch.zeros(3, dtype=torch.float64, device=dataset.device)
    for images, truth in dataset.scan("test", batch, share):
        logits = logits_of(images).float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
        loss = cross_entropy(logits, truth, reduction="sum", ignore_index=UNREADABLE)
        sums += torch.stack([best[:, 0].sum(), best.sum(), loss]).double()
    if share != WHOLE:
        torch.distributed.all_reduce(sums)
    top1, top5, loss_sum = (sums / dataset.test_size).tolist()
    return Scores(100 * top1, 100 * top5, loss_sum)


def evaluate_model(
    model: nn.Module, dataset: Source, precision: str, *, batch_size: int | None = None, share: Share = WHOLE
) -> Scores:
    """Scores of a network in evaluation mode; its mode is left as it was."""
    training = model.training
    model.eval()
    with autocast(dataset.device.type, precision):
        scores = evaluate(model, dataset, batch_size=batch_size, share=share)
    model.train(training)
    return scores
