"""What a rule gives to each image of a training set: two temperatures and a factor, as numpy arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ekd_core import energy
from ekd_core.rules import Rule, Samples
from ekd_core.softening import Softening
from trainables.errors import UserError
from trainables.rules import make_rule
from trainables.temperature import Temperature

PARTS = ("teacher", "student", "factor")
AT_ONCE = 8192


@torch.no_grad()
def rule_values(
    temperature: Temperature,
    teacher: np.ndarray,
    labels: np.ndarray,
    *,
    student: np.ndarray | None = None,
    as_they_are: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The temperatures of `teacher` and `student` and the `factor` of each image, (N,) each, in the first epoch.

    Without a student, the parts that need one are missing. Of a temperature for each class, that of the label.

    Args:
        temperature: The rule and its numbers.
        teacher: Logits (N, C) of the whole training set: the rule's cuts are made in their energies.
        labels: (N,).
        student: Logits (N, C).
        as_they_are: (N,) energies of the images before augmentation, where membership is by image: scores are then
            their ranks.
    """
    rule = make_rule(temperature)
    logits, truth = torch.from_numpy(teacher), torch.from_numpy(labels)
    if as_they_are is None:
        scores = energy(logits)
    else:
        scores = torch.from_numpy(as_they_are).argsort(stable=True).argsort().float()
    cuts = None if temperature.end is None else rule.cuts(scores)
    if student is not None or not rule.STUDENT:
        answers = None if student is None else torch.from_numpy(student)
        found = _apply(rule, logits, truth, scores, cuts, answers)
        return {part: values.numpy() for part, values in zip(PARTS, found, strict=True)}
    # What is the same for two students does not depend on them.
    draw = torch.Generator().manual_seed(0)
    one, other = (
        _apply(rule, logits, truth, scores, cuts, size * torch.randn(logits.shape, generator=draw)) for size in (1, 3)
    )
    return {name: first.numpy() for name, first, second in zip(PARTS, one, other, strict=True) if first.equal(second)}


def _apply(
    rule: Rule, teacher: Tensor, labels: Tensor, scores: Tensor, cuts: Tensor | None, student: Tensor | None
) -> list[Tensor]:
    """PARTS, (N,) each."""
    learned, parts = rule.learned(), []
    for rows in torch.arange(len(labels)).split(AT_ONCE):
        samples = Samples(
            teacher[rows],
            student[rows] if rule.STUDENT and student is not None else None,
            labels[rows],
            scores=None if cuts is None else scores[rows],
            cuts=cuts,
            learned=learned,
        )
        found = rule.soften(samples)
        if not isinstance(found, float | int | Tensor | Softening):
            raise UserError(f"a rule's soften returns {type(found).__name__}: return a temperature or a Softening")
        softening = found if isinstance(found, Softening) else Softening(found, found, found**2)
        parts.append([_per_sample(value, labels[rows]) for value in softening[:3]])
    return [torch.cat(values) for values in zip(*parts, strict=True)]


def _per_sample(value: float | Tensor, labels: Tensor) -> Tensor:
    """(n,) of a number, (n,) or (n, C)."""
    value = torch.as_tensor(value, dtype=torch.float32)
    return value.gather(1, labels[:, None]).squeeze(1) if value.ndim == 2 else value.expand(len(labels))


def energies_of(logits: np.ndarray) -> np.ndarray:
    """(N, C) -> (N,)"""
    found: np.ndarray = energy(torch.from_numpy(logits)).numpy()
    return found
