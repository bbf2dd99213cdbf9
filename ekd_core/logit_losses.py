"""Losses on logits that are not a divergence of two softmaxes for each sample: DIST, NKD, RLD, ABKD."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from ekd_core.softening import soften

EPSILON = 1e-8
"""Added to the product of two norms, so that a vector without variance correlates with nothing."""


def dist_loss(student_logits: Tensor, teacher_logits: Tensor, tau: float) -> Tensor:
    """Return the loss of DIST (Huang et al., NeurIPS 2022): tau^2 (mean_i (1 - r_i) + mean_c (1 - r_c)).

    r_i: the Pearson correlation of the softmaxes of sample i at tau, over the classes. r_c: that of class c, over the
    samples of the batch.

    Args:
        student_logits: (N, C).
        teacher_logits: (N, C).
        tau: Above 0.

    Returns:
        Scalar, without unit.

    Raises:
        ValueError: If the shapes differ, or tau is not above 0.
    """
    student, teacher, factor = soften(float(tau), student_logits, teacher_logits)
    student, teacher = student.softmax(dim=1), teacher.softmax(dim=1)
    apart = (1 - _correlate(student, teacher)).mean() + (1 - _correlate(student.T, teacher.T)).mean()
    return apart * factor.squeeze()


def _correlate(one: Tensor, other: Tensor) -> Tensor:
    """The Pearson correlation of each row, (N, M) -> (N,)."""
    one, other = (each - each.mean(dim=1, keepdim=True) for each in (one, other))
    return (one * other).sum(dim=1) / (_norm(one) * _norm(other) + EPSILON)


def _norm(rows: Tensor) -> Tensor:
    """(N, M) -> (N,); its gradient is 0 where the norm is."""
    squares = rows.square().sum(dim=1)
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)


def nkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, gamma: float, temperature: float | Tensor
) -> Tensor:
    """Return the loss of NKD (Yang et al., ICCV 2023): mean_i (-t_y log s_y + gamma T_i^2 H(t_others, s_others)).

    t_y, s_y: the probabilities of the label at temperature 1. H: the cross-entropy of the distributions over the other
    classes, at T_i.

    Args:
        student_logits: (N, C), C >= 2.
        teacher_logits: (N, C).
        labels: (N,) int64.
        gamma: The weight of the second term.
        temperature: T, a number or (N,), above 0.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: If the shapes differ, or a temperature is not above 0.
    """
    student, teacher, factor = soften(temperature, student_logits, teacher_logits)
    label = labels[:, None]
    certain = log_softmax(teacher_logits, dim=1).gather(1, label).exp().squeeze(1)
    first = -certain * log_softmax(student_logits, dim=1).gather(1, label).squeeze(1)
    others_student, others_teacher = (log_softmax(_mask(each, label), dim=1) for each in (student, teacher))
    second = -(others_teacher.exp() * others_student.scatter(1, label, 0.0)).sum(dim=1)
    return (first + gamma * factor * second).mean()


def rld_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    alpha: float,
    beta: float,
    temperature: float | Tensor,
    alpha_temperature: float,
) -> Tensor:
    """Return the loss of refined logit distillation (Sun et al., ICCV 2025): mean_i (alpha A^2 S_i + beta T_i^2 M_i).

    S: the KL divergence from {the teacher's largest probability, the rest} to {the student's probability of the label,
    the rest} at temperature A. M: the KL divergence over the classes whose teacher logit lies below that of the label,
    at T; 0 where there is none.

    Args:
        student_logits: (N, C), C >= 2.
        teacher_logits: (N, C).
        labels: (N,) int64.
        alpha: The weight of S.
        beta: The weight of M.
        temperature: T, a number or (N,), above 0.
        alpha_temperature: A, above 0.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: If the shapes differ, or a temperature is not above 0.
    """
    sharp_student, sharp_teacher, sharp_factor = soften(float(alpha_temperature), student_logits, teacher_logits)
    label = labels[:, None]
    student_two = _split_off(sharp_student, label)
    teacher_two = _split_off(sharp_teacher, sharp_teacher.argmax(dim=1, keepdim=True))
    certain = (teacher_two.exp() * (teacher_two - student_two)).sum(dim=1)
    student, teacher, factor = soften(temperature, student_logits, teacher_logits)
    left_out = teacher_logits >= teacher_logits.gather(1, label)
    lowest = torch.finfo(student.dtype).min / 4
    student, teacher = (log_softmax(each.masked_fill(left_out, lowest), dim=1) for each in (student, teacher))
    below = (teacher.exp() * (teacher - student)).masked_fill(left_out, 0.0).sum(dim=1)
    return (alpha * sharp_factor * certain + beta * factor * below).mean()


def abkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, alpha: float, beta: float, temperature: float | Tensor
) -> Tensor:
    """Return the loss of ABKD (Wang et al., ICML 2025): the alpha-beta divergence of the softmaxes t and s at T.

    mean_i sum_j -(t^alpha s^beta - a t^(alpha + beta) - b s^(alpha + beta)) / (alpha beta), with a = alpha / (alpha +
    beta) and b = beta / (alpha + beta).

    Args:
        student_logits: (N, C).
        teacher_logits: (N, C).
        alpha: Not 0.
        beta: Not 0, nor -alpha.
        temperature: T, a number or (N,), above 0.

    Returns:
        Scalar, without unit.

    Raises:
        ValueError: If the shapes differ, a temperature is not above 0, or alpha, beta or their sum is 0.
    """
    if alpha * beta * (alpha + beta) == 0:
        raise ValueError(f"alpha is {alpha} and beta {beta}; neither of them, nor their sum, may be 0")
    student, teacher, _ = soften(temperature, student_logits, teacher_logits)
    student, teacher, total = log_softmax(student, dim=1), log_softmax(teacher, dim=1), alpha + beta
    each = (alpha * teacher + beta * student).exp()
    each = each - (alpha * (total * teacher).exp() + beta * (total * student).exp()) / total
    return -each.sum(dim=1).mean() / (alpha * beta)


def _mask(logits: Tensor, label: Tensor) -> Tensor:
    """The logits with the lowest finite number at the label, a probability of 0; label: (N, 1)."""
    return logits.scatter(1, label, torch.finfo(logits.dtype).min / 4)


def _split_off(logits: Tensor, one: Tensor) -> Tensor:
    """Log-probabilities of {a class, the rest}, (N, 2); one: (N, 1)."""
    margin = logits.gather(1, one).squeeze(1) - _mask(logits, one).logsumexp(dim=1)
    return torch.stack([logsigmoid(margin), logsigmoid(-margin)], dim=1)
