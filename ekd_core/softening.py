"""How the logits of teacher and student are softened: a temperature for each, and the weight of each sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 1e-7
"""A standard deviation or a sharpness below it counts as this much, so that no temperature is 0."""


class Softening(NamedTuple):
    """The temperatures and the weight of the samples of a batch.

    Attributes:
        teacher: The teacher's temperature: a number, (N,), or (N, C) for one a class.
        student: The student's: a number or (N,).
        factor: What the divergence of each sample is multiplied by: a number or (N,).
        cross_entropy: Whether the divergence is the cross-entropy of the two softmaxes instead of their KL divergence.
    """

    teacher: float | Tensor
    student: float | Tensor
    factor: float | Tensor
    cross_entropy: bool = False


Temperature = float | Tensor | Softening


def map_tensors(temperature: Temperature, change: Callable[[Tensor], Tensor]) -> Temperature:
    """Return the temperature with every tensor in it changed; numbers stay."""
    if isinstance(temperature, Softening):
        teacher, student, factor = (change(each) if isinstance(each, Tensor) else each for each in temperature[:3])
        return Softening(teacher, student, factor, temperature.cross_entropy)
    return change(temperature) if isinstance(temperature, Tensor) else temperature


def check_same_shape(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            f"student logits {tuple(student_logits.shape)} and teacher logits {tuple(teacher_logits.shape)} must both "
            "be (N, C)"
        )


def temperature_column(temperature: float | Tensor, logits: Tensor) -> Tensor:
    """`temperature` as (N, 1), (N, C) or (1, 1) beside `logits`."""
    if isinstance(temperature, Tensor) and temperature.ndim > 0:
        if temperature.shape not in (logits.shape[:1], logits.shape):
            raise ValueError(
                f"{tuple(temperature.shape)} temperatures given for {logits.shape[0]} samples; (N,) is needed"
            )
        column = temperature.to(logits.dtype)
        column = column[:, None] if column.ndim == 1 else column
        if column.device.type == "cpu" and bool((column <= 0).any()):
            raise ValueError(f"the lowest temperature is {column.min().item()}; each must be above 0")
        return torch.where(column > 0, column, torch.nan)
    if float(temperature) <= 0:
        raise ValueError(f"the temperature is {float(temperature)}; it must be above 0")
    return logits.new_full((1, 1), float(temperature))


def soften(temperature: Temperature, student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return student and teacher logits over their temperatures, both (N, C), and the factor, (N,) or (1,).

    One temperature T is that of both; its factor is T^2, which keeps the gradient's size.

    Raises:
        ValueError: If the shapes differ, or a temperature is not above 0.
    """
    check_same_shape(student_logits, teacher_logits)
    if not isinstance(temperature, Softening):
        column = temperature_column(temperature, student_logits)
        return student_logits / column, teacher_logits / column, column.squeeze(1) ** 2
    teacher = temperature_column(temperature.teacher, teacher_logits)
    student = temperature_column(temperature.student, student_logits)
    factor = torch.as_tensor(temperature.factor, dtype=student_logits.dtype, device=student_logits.device)
    return student_logits / student, teacher_logits / teacher, factor


def deviation(logits: Tensor) -> Tensor:
    """Return the standard deviation over the classes (N - 1 in its denominator), (N, C) -> (N,).

    It is at least SMALLEST. Where all logits of a sample are equal its gradient is 0.
    """
    variance = logits.var(dim=1) if len(logits) else logits.sum(dim=1)
    positive = variance > SMALLEST**2
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), SMALLEST)
