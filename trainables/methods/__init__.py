"""Distillation methods, one file each. A file here that defines METHOD is a method under the file's name.

A method is a frozen dataclass of its own numbers (the `params` of a run) with two losses:

    loss(student, batch, temperature, epoch)        on the images as they are
    mixed_loss(student, batch, temperature, epoch)  on mixed images, added to the first

`student` are float32 logits (N, C), `batch` the labels (N,) and the teacher's logits (N, C). `epoch` counts from 1.
Each returns a scalar.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from functools import cache
from typing import NamedTuple, Protocol

from torch import Tensor

from trainables.errors import UserError
from trainables.spec import Params


class Batch(NamedTuple):
    """What one step of a view gives to a loss. teacher is None for a student alone."""

    labels: Tensor
    teacher: Tensor | None


class Method(Protocol):
    def loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor: ...

    def mixed_loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor: ...


@cache
def methods() -> dict[str, type]:
    """Every method by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        cls = getattr(importlib.import_module(f"{__name__}.{module.name}"), "METHOD", None)
        if cls is not None:
            found[module.name] = cls
    return found


def make(name: str, params: Params) -> Method:
    """The method with its numbers; refuses an unknown name, a missing number, or one that it does not have."""
    if name not in methods():
        near = difflib.get_close_matches(name, methods(), 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"unknown method {name!r}{hint}: use one of {', '.join(methods())}")
    cls = methods()[name]
    wanted = {item.name for item in dataclasses.fields(cls)}
    given = dict(params)
    if set(given) != wanted:
        raise UserError(
            f"method {name} takes the parameters {', '.join(sorted(wanted)) or 'none'}; "
            f"given: {', '.join(sorted(given)) or 'none'}"
        )
    method: Method = cls(**given)
    return method
