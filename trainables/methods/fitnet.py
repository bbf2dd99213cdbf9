"""FitNets: hints from a feature map in the middle (Romero et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from trainables.methods import Batch, Method, Setup
from trainables.methods._features import make_refusal
from trainables.models import Outputs


@dataclass(frozen=True)
class FitNet(Method):
    """L = ce CE(labels, student) + weight MSE(r(student_f), teacher_f),  f = feature, counted from 0 in both networks.

    r: a convolution from (N, K, h, w) to the teacher's (N, L, H, W), a norm, a ReLU. The convolution follows the ratio
    of the sides (as mdistiller's for ratios up to 2): equal: 1 x 1; h = r H: kernel 2r - 1, stride r; H = r h:
    transposed, kernel 2r (odd r: 2r - 1), stride r; else, if the student's is larger: kernel 1 + h - H.
    """

    FEATURES = True

    ce: float
    weight: float
    feature: float

    def extra(self, setup: Setup) -> nn.Module:
        assert setup.teacher is not None
        student, teacher = setup.student.features, setup.teacher.features
        known = range(min(len(student), len(teacher)))
        if self.feature not in known:
            why = f"there is no feature {self.feature:g}, choose 0 to {len(known) - 1}"
            raise make_refusal("fitnet", why, student, teacher)
        convolution = _convolution(student[int(self.feature)], teacher[int(self.feature)])
        if convolution is None:
            why = f"no convolution makes the teacher's feature {self.feature:g} of the student's"
            raise make_refusal("fitnet", why, student, teacher)
        return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        assert batch.extra is not None
        hint = batch.teacher_outputs.features[int(self.feature)]
        guess = batch.extra(student.features[int(self.feature)])
        return self.ce * cross_entropy(student.logits, batch.labels) + self.weight * mse_loss(guess, hint)


def _convolution(student: Tensor, teacher: Tensor) -> nn.Conv2d | nn.ConvTranspose2d | None:
    """Without bias, which the norm behind it would take away."""
    (inputs, height, width), (outputs, high, wide) = student.shape[1:], teacher.shape[1:]
    ratio, back = height // high, high // height
    if (height, width) == (ratio * high, ratio * wide):
        return nn.Conv2d(inputs, outputs, 2 * ratio - 1, ratio, padding=ratio - 1, bias=False)
    if (high, wide) == (back * height, back * width):
        pad = back // 2
        return nn.ConvTranspose2d(inputs, outputs, back + 2 * pad, back, padding=pad, bias=False)
    if height >= high and width >= wide:
        return nn.Conv2d(inputs, outputs, (1 + height - high, 1 + width - wide), bias=False)
    return None


METHOD = FitNet
