"""The divergence of any rule or loss by its name, without cross-entropy and weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ekd_core import rules
from ekd_core.energy import energy
from ekd_core.logit_losses import abkd_loss, dist_loss, nkd_loss, rld_loss
from ekd_core.losses import dkd_loss, kd_loss
from ekd_core.rules import Samples

LOSSES: dict[str, Callable[..., Tensor]] = {
    "dkd": dkd_loss,
    "dist": dist_loss,
    "nkd": nkd_loss,
    "rld": rld_loss,
    "abkd": abkd_loss,
}
LABELLED = ("dkd", "nkd", "rld")


def divergence(
    name: str, student_logits: Tensor, teacher_logits: Tensor, *, labels: Tensor | None = None, **numbers: Any
) -> Tensor:
    """Return the divergence of a rule (with KD) or of a loss, the mean over the samples.

    Rules that go by energy take these samples as their training set. A rule that learns is as before its first step.

    Args:
        name: A rule of `ekd_core.rules` or one of LOSSES.
        student_logits: (N, C).
        teacher_logits: (N, C).
        labels: (N,) int64, where the rule or the loss looks at them.
        **numbers: The rule's or the loss's own.

    Returns:
        Scalar.

    Raises:
        ValueError: If there is no such name, its numbers are others, or it needs labels.

    Examples:
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0, 0.0]])
        >>> divergence("plain", student, teacher, temperature=4).item()
        1.775...
        >>> divergence("dist", student, teacher, tau=4).item() > 0
        True
    """
    try:
        if name in LOSSES:
            loss = partial(LOSSES[name], student_logits, teacher_logits)
            return loss(labels=_require_labels(name, labels), **numbers) if name in LABELLED else loss(**numbers)
        rule = rules.find(name)(**numbers)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    scores = energy(teacher_logits)
    if rule.LABELS:
        _require_labels(name, labels)
    samples = Samples(teacher_logits, student_logits, labels, scores=scores, cuts=rule.cuts(scores))
    return kd_loss(student_logits, teacher_logits, rule.soften(samples))


def _require_labels(name: str, labels: Tensor | None) -> Tensor:
    if labels is None:
        raise ValueError(f"{name} looks at the labels: give them")
    return labels
