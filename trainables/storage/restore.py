"""Whether a checkpoint can be gone on from: one that another version wrote may be whole and have another shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

FIELDS = {"run_id", "model", "extra", "optimizer", "record"}


def fits(
    state: Mapping[str, Any], run_id: str, model: nn.Module, extra: nn.Module | None, optimizer: Optimizer, record: Any
) -> bool:
    """Whether what was stored is of this run, and every part of it of the kind that is to be filled. record: an empty
    one; a field that it has and the stored one lacks keeps its default."""
    return (
        state.keys() >= FIELDS
        and state["run_id"] == run_id
        and _same_tensors(state["model"], model.state_dict())
        and _same_tensors(state["extra"], {} if extra is None else extra.state_dict())
        and _optimizes(state["optimizer"], optimizer)
        and isinstance(state["record"], dict)
        and all(type(value) is type(vars(record).get(name)) for name, value in state["record"].items())
    )


def _same_tensors(stored: Any, own: Mapping[str, Tensor]) -> bool:
    return (
        isinstance(stored, Mapping) and stored.keys() == own.keys() and all(_like(stored[key], own[key]) for key in own)
    )


def _like(stored: Any, own: Tensor) -> bool:
    return isinstance(stored, Tensor) and (stored.shape, stored.dtype) == (own.shape, own.dtype)


def _optimizes(stored: Any, optimizer: Optimizer) -> bool:
    """Whether its groups have as many parameters, and its momenta their shapes."""
    groups = optimizer.param_groups
    try:
        numbers = [number for group in stored["param_groups"] for number in group["params"]]
        own = dict(zip(numbers, (one for group in groups for one in group["params"]), strict=True))
        sizes = [len(group["params"]) for group in stored["param_groups"]]
        momenta = [
            (value, own[number])
            for number, kept in stored["state"].items()
            for value in kept.values()
            if value is not None
        ]
        return sizes == [len(group["params"]) for group in groups] and all(_like(*pair) for pair in momenta)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
