"""Weights files of networks that nobody has trained."""

from __future__ import annotations

from pathlib import Path

from trainables.models import build
from trainables.models.checkpoint import save_weights


def make_weights(network: str, path: Path, seed: int = 0) -> str:
    """An untrained network that tells images apart."""
    import torch

    from trainables.data.dataset import Dataset
    from trainables.datasets import load

    dataset = load("digits", None)
    assert isinstance(dataset, Dataset)
    torch.manual_seed(seed)
    model = build(network, 10).train()
    with torch.no_grad():
        for _ in range(20):
            model(dataset.train.images[:128].permute(0, 3, 1, 2) / 255)
        for value in list(model.state_dict().values())[-2:]:
            value.normal_(0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_weights(model, path)
