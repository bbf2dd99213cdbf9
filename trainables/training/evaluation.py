"""Test accuracy of a network: top-1, top-5 and cross-entropy over a whole split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn.functional import cross_entropy

from trainables.data.source import UNREADABLE, Source
from trainables.data.stream import WHOLE
from trainables.training.distributed import current_share

BATCH = {"cpu": 250, "cuda": 2000}
MOST_PIXELS = 2048 * 32**2
FEWEST = 64


class Scores(NamedTuple):
    """top1, top5 in per cent; loss: mean cross-entropy in nats. top5 is 100 where there are five classes or fewer."""

    top1: float
    top5: float
    loss: float


def autocast(device: str, precision: str) -> torch.autocast:
    """bf16: matrix products and convolutions in bfloat16, weights stay float32. fp32: nothing."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def choose_batch_size(batch: Mapping[str, int], device: torch.device, side: int) -> int:
    """How many of such images a network is asked about together: of large ones fewer, whose maps would fill a GPU."""
    return min(batch[device.type], max(FEWEST, MOST_PIXELS // side**2))


def training_kernels() -> AbstractContextManager[None]:
    """Convolutions in float32 on a GPU as in training: without TF32, and the same every time."""
    return cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


@torch.no_grad()
def evaluate(
    logits_of: Sequence[Callable[[Tensor], Tensor]],
    dataset: Source,
    *,
    batch_size: int | None = None,
) -> list[Scores]:
    """Scores of each on the test images, which are read once for all; each device of a job takes its share of them.
    Asks for the numbers once, at the end.

    An image that cannot be read counts as wrong.
    """
    batch = batch_size or choose_batch_size(BATCH, dataset.device, dataset.side)
    sums = torch.zeros(len(logits_of), 3, dtype=torch.float64, device=dataset.device)
    for images, truth in dataset.scan("test", batch, current_share()):
        for own, ask in zip(sums, logits_of, strict=True):
            logits = ask(images).float()
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
            loss = cross_entropy(logits, truth, reduction="sum", ignore_index=UNREADABLE)
            own += torch.stack([best[:, 0].sum(), best.sum(), loss]).double()
    if current_share() != WHOLE:
        torch.distributed.all_reduce(sums)
    means = (sums / dataset.test_size).tolist()
    return [Scores(100 * top1, 100 * top5, loss) for top1, top5, loss in means]


def evaluate_models(
    models: Sequence[nn.Module],
    dataset: Source,
    precision: str,
    *,
    batch_size: int | None = None,
) -> list[Scores]:
    """Scores of networks in evaluation mode; their modes are left as they were."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    with autocast(dataset.device.type, precision):
        scores = evaluate(models, dataset, batch_size=batch_size)
    for model, training in zip(models, modes, strict=True):
        model.train(training)
    return scores
