"""What networks answer, taken apart and put together: every tensor of an Outputs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainables.models import Outputs


def map_outputs(function: Callable[..., Tensor], *outputs: Outputs) -> Outputs:
    """`function` of the tensors that stand at the same place."""
    logits, features, pooled, preactivations = zip(*outputs, strict=True)
    return Outputs(
        logits=function(*logits),
        features=tuple(map(function, *features)),
        pooled=function(*pooled),
        preactivations=tuple(map(function, *preactivations)),
    )


def join_outputs(parts: Sequence[Outputs]) -> Outputs:
    """The samples of all parts, one after the other."""
    return parts[0] if len(parts) == 1 else map_outputs(lambda *tensors: torch.cat(tensors), *parts)


def logits_only(logits: Tensor) -> Outputs:
    """Outputs of a network that was asked for its logits alone."""
    return Outputs(logits, (), logits[:, :0], ())
