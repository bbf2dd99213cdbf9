"""What networks answer, taken apart and put together: every tensor of an Outputs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainables.models import Outputs


def mapped(function: Callable[..., Tensor], *outputs: Outputs) -> Outputs:
    """`function` of the tensors that stand at the same place."""

    def each(name: str) -> tuple[Tensor, ...]:
        return tuple(function(*maps) for maps in zip(*(getattr(one, name) for one in outputs), strict=True))

    return Outputs(
        logits=function(*(one.logits for one in outputs)),
        features=each("features"),
        pooled=function(*(one.pooled for one in outputs)),
        preactivations=each("preactivations"),
    )


def in_float(outputs: Outputs) -> Outputs:
    """In float32, whatever the precision of the network."""
    return mapped(lambda tensor: tensor.float(), outputs)


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The samples of all parts, one after the other."""
    return parts[0] if len(parts) == 1 else mapped(lambda *tensors: torch.cat(tensors), *parts)


def rows(outputs: Outputs, start: int, end: int) -> Outputs:
    """The samples `start` to `end`."""
    return mapped(lambda tensor: tensor[start:end], outputs)


def logits_only(logits: Tensor) -> Outputs:
    """Outputs of a network that was asked for its logits alone."""
    return Outputs(logits, (), logits[:, :0], ())
