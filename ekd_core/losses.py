"""KD and DKD on logits, with one temperature for all samples, one for each, or what a rule makes of both networks.

All are computed from log-probabilities in the precision of the logits, so logits of +-1e4 are safe in float32. A
temperature that is not above 0 raises an error. If it is in a tensor on a GPU, the loss is NaN instead, because reading
it would wait for the GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from ekd_core.softening import Softening, Temperature, soften


def _kl(teacher_log: Tensor, student_log: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities: sum over classes, (N, C) -> (N,). 0 log 0 counts as 0."""
    return (teacher_log.exp() * (teacher_log - student_log)).sum(dim=1)


def _cross_entropy(teacher_log: Tensor, student_log: Tensor) -> Tensor:
    """The cross-entropy of log-probabilities: sum over classes, (N, C) -> (N,)."""
    return -(teacher_log.exp() * student_log).sum(dim=1)


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: Temperature) -> Tensor:
    """Return the KD loss: mean_i w_i KL(softmax(t_i / T_i) || softmax(s_i / S_i))  (Eq. 7).

    With a temperature for each sample it is the loss of Energy KD: T_i = S_i, w_i = T_i^2  (Eq. 8). Rules set the
    teacher's temperature T_i, the student's S_i and the factor w_i apart, and some take the cross-entropy of the two
    softmaxes instead.

    Args:
        student_logits: s, (N, C).
        teacher_logits: t, (N, C).
        temperature: A number or (N,), above 0; or what a rule's `soften` returned.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: If the shapes differ, or a temperature is not above 0.

    Examples:
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0, 0.0]])
        >>> kd_loss(student, teacher, temperature=4).item()
        1.775...
    """
    student, teacher, factor = soften(temperature, student_logits, teacher_logits)
    by_entropy = isinstance(temperature, Softening) and temperature.cross_entropy
    divergence = _cross_entropy if by_entropy else _kl
    return (divergence(log_softmax(teacher, dim=1), log_softmax(student, dim=1)) * factor).mean()


def _soften_kl(
    temperature: Temperature, student_logits: Tensor, teacher_logits: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(temperature, Softening) and temperature.cross_entropy:
        raise ValueError("DKD has two KL divergences: it takes no rule of a cross-entropy")
    return soften(temperature, student_logits, teacher_logits)


def _decouple(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of {target, not target}, (N, 2), and of the other classes among themselves, (N, C).

    The target's own entry of the second is the lowest finite number: a probability of exactly 0.
    """
    lowest = torch.finfo(logits.dtype).min / 4
    others = logits.masked_fill(target, lowest)
    margin = logits.masked_fill(~target, 0).sum(dim=1) - others.logsumexp(dim=1)
    return torch.stack([logsigmoid(margin), logsigmoid(-margin)], dim=1), log_softmax(others, dim=1)


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: Temperature,
    alpha: float,
    beta: float,
) -> Tensor:
    """Return the loss of decoupled KD (Zhao et al. 2022): mean_i w_i (alpha TCKD_i + beta NCKD_i).

    TCKD is the KL divergence between the binary distributions {target, not target}, NCKD that between the distributions
    over the other classes. All probabilities are of the softmax at T_i, and w_i = T_i^2; a rule may set the teacher's
    temperature, the student's and w_i apart. With two classes NCKD is 0.

    Args:
        student_logits: (N, C), C >= 2.
        teacher_logits: (N, C).
        labels: The target classes, (N,) int64.
        temperature: A number or (N,), above 0; or what a rule's `soften` returned, of a KL divergence.
        alpha: The weight of TCKD.
        beta: The weight of NCKD.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: If the shapes differ, a temperature is not above 0, or the rule's divergence is no KL divergence.
    """
    student, teacher, factor = _soften_kl(temperature, student_logits, teacher_logits)
    target = torch.zeros_like(student_logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
    student_binary, student_others = _decouple(student, target)
    teacher_binary, teacher_others = _decouple(teacher, target)
    loss = alpha * _kl(teacher_binary, student_binary) + beta * _kl(teacher_others, student_others)
    return (loss * factor).mean()


def dkd_mixed_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    others: Tensor,
    temperature: Temperature,
    alpha: float,
    beta: float,
) -> Tensor:
    """Return the loss of DKD for images that two labels share: mean_i w_i (alpha TCKD_i + beta NCKD_i).

    TCKD is the KL divergence between the distributions over {y1, y2, rest}, with p_rest = 1 - p_y1 - p_y2; NCKD that
    between the distributions over the classes of the rest. Temperatures and w_i as in `dkd_loss`, which this is where
    y1 = y2.

    Args:
        student_logits: (N, C), C >= 2.
        teacher_logits: (N, C).
        labels: y1, (N,) int64.
        others: y2, (N,) int64.
        temperature: A number or (N,), above 0; or what a rule's `soften` returned, of a KL divergence.
        alpha: The weight of TCKD.
        beta: The weight of NCKD.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: If the shapes differ, a temperature is not above 0, or the rule's divergence is no KL divergence.
    """
    student, teacher, factor = _soften_kl(temperature, student_logits, teacher_logits)
    pair = torch.stack([labels, others], dim=1)
    student_ternary, student_rest = _decouple_pair(student, pair)
    teacher_ternary, teacher_rest = _decouple_pair(teacher, pair)
    loss = alpha * _kl(teacher_ternary, student_ternary) + beta * _kl(teacher_rest, student_rest)
    return (loss * factor).mean()


def _decouple_pair(logits: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of {y1, y2, rest}, (N, 3), and of the rest's classes among themselves, (N, C); pair: (N, 2).

    What has no place of its own (the pair among the rest, y2 = y1, a rest without classes) gets the lowest finite
    number: a probability of exactly 0.
    """
    lowest = torch.finfo(logits.dtype).min / 4
    target = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, pair, True)
    rest = logits.masked_fill(target, lowest)
    first, second = logits.gather(1, pair).unbind(1)
    second = second.masked_fill(pair[:, 0] == pair[:, 1], lowest)
    return log_softmax(torch.stack([first, second, rest.logsumexp(dim=1)], dim=1), dim=1), log_softmax(rest, dim=1)
