"""Multi-level logit distillation (Jin et al. 2023): how classes, and how samples, go together.

The third level, each sample by itself, is kd_loss.
"""

from __future__ import annotations

from torch import Tensor

from ekd_core.softening import soften


def class_correlation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return |Q^T Q - P^T P|^2 / C, where row i of P (student) and of Q (teacher) is softmax(logits_i / T_i).

    |.|^2 is the sum of the squares of all (C, C) entries. It is not averaged over samples, as in the released code.

    Args:
        student_logits: (N, C).
        teacher_logits: (N, C).
        temperature: T, a number or (N,), above 0.

    Returns:
        Scalar.
    """
    student, teacher = _probabilities(student_logits, teacher_logits, temperature)
    return (teacher.T @ teacher - student.T @ student).square().sum() / student.shape[1]


def batch_correlation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return |Q Q^T - P P^T|^2 / N, where row i of P (student) and of Q (teacher) is softmax(logits_i / T_i).

    |.|^2 is the sum of the squares of all (N, N) entries.

    Args:
        student_logits: (N, C).
        teacher_logits: (N, C).
        temperature: T, a number or (N,), above 0.

    Returns:
        Scalar.
    """
    student, teacher = _probabilities(student_logits, teacher_logits, temperature)
    return (teacher @ teacher.T - student @ student.T).square().sum() / len(student)


def _probabilities(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    student, teacher, _ = soften(temperature, student_logits, teacher_logits)
    return student.softmax(dim=1), teacher.softmax(dim=1)
