"""The methods that the paper compares itself with, as numbers; and multi-level KD, on which Energy Multi builds.

Free of torch. The numbers are those of the methods' own papers as the released code's framework has them. Where nobody
says what was done the choice is said at its place.
"""

from __future__ import annotations

import math
from dataclasses import replace

from trainables.recipes import (
    IMAGENET_50_MV1,
    LIGHT_NETWORKS,
    RESNET_32X4_8X4,
    RESNET_32X4_SV1,
    RESNET_32X4_SV2,
    RESNET_50_MV2,
    RESNET_56_20,
    RESNET_110_32,
    VGG_13_8,
    VGG_13_MV2,
    WRN_40_2_16_2,
    WRN_40_2_40_1,
    WRN_40_2_SV1,
    Pair,
    Recipe,
    Schedule,
    Treatment,
    energy_temperature,
    kd,
)
from trainables.spec import Temperature, params

MULTI_BASE = 4
MULTI_TEMPERATURES = (2, 3, 4, 5, 6)
"""Of multi-level KD, where a sample's temperature is MULTI_BASE."""

# A choice made here, of the networks known here: one between the two in published accuracy and (but for VGG13/VGG8) in
# size, of the same kind where there is one.
ASSISTANTS = {
    WRN_40_2_16_2: "resnet110",
    WRN_40_2_40_1: "wrn_16_2",
    RESNET_56_20: "resnet32",
    RESNET_110_32: "resnet56",
    RESNET_32X4_8X4: "wrn_40_2",
    VGG_13_8: "resnet110",
    WRN_40_2_SV1: "resnet110",
    RESNET_50_MV2: "wrn_40_2",
    RESNET_32X4_SV1: "wrn_40_2",
    RESNET_32X4_SV2: "wrn_40_2",
    VGG_13_MV2: "vgg8",
    IMAGENET_50_MV1: "imagenet_resnet18",
    Pair("resnet20", "resnet8"): "resnet14",
    Pair("wrn_16_1", "resnet8"): "resnet14",
}

# Parameters at 100 classes, in millions, of the networks that can be an assistant.
# fmt: off
MILLIONS = {
    "resnet8": 0.08, "resnet14": 0.18, "resnet20": 0.28, "resnet32": 0.47, "resnet44": 0.67, "resnet56": 0.86,
    "resnet110": 1.74, "resnet8x4": 1.23, "resnet32x4": 7.43, "wrn_16_1": 0.18, "wrn_16_2": 0.70, "wrn_40_1": 0.57,
    "wrn_40_2": 2.26, "vgg8": 3.97, "vgg13": 9.46, "MobileNetV2": 0.81, "ShuffleV1": 0.95, "ShuffleV2": 1.36,
    "ResNet50": 23.71, "imagenet_resnet18": 11.23, "imagenet_resnet34": 21.34, "imagenet_resnet50": 23.71,
}
# fmt: on


def fitnet(source: Recipe, pair: Pair) -> Treatment:
    """Hints at the features after the second stage."""
    return Treatment("fitnet", params(ce=1, weight=100, feature=2))


def at(source: Recipe, pair: Pair) -> Treatment:
    """Attention transfer."""
    return Treatment("at", params(ce=1, weight=1000, power=2))


def pkt(source: Recipe, pair: Pair) -> Treatment:
    """Probabilistic knowledge transfer."""
    return Treatment("pkt", params(ce=1, weight=30000))


def rkd(source: Recipe, pair: Pair) -> Treatment:
    """Relational KD, by distance and by angle."""
    return Treatment("rkd", params(ce=1, distance=25, angle=50))


def vid(source: Recipe, pair: Pair) -> Treatment:
    """Variational information distillation."""
    return Treatment("vid", params(ce=1, weight=1, variance=5, eps=1e-5))


def crd(source: Recipe, pair: Pair) -> Treatment:
    """Contrastive representation distillation, with as many negatives as the recipe has."""
    numbers = params(ce=1, weight=0.8, dimensions=128, negatives=source.negatives, temperature=0.07, momentum=0.5)
    return Treatment("crd", numbers)


def ofd(source: Recipe, pair: Pair) -> Treatment:
    """Overhaul of feature distillation."""
    return Treatment("ofd", params(ce=1, weight=source.ofd_weight))


def reviewkd(source: Recipe, pair: Pair) -> Treatment:
    """ReviewKD with the pair's weight (5 where none is known: a choice made here) and a linear warm-up.

    Its authors give none for ResNet50/MobileNetV2; with 30 users of mdistiller reach the printed number.
    """
    weight, before = source.review_weight.get(pair, 5), int(source.review_preactivations)
    return Treatment("reviewkd", params(ce=1, weight=weight, warmup=source.warmup, preactivations=before))


def dml(source: Recipe, pair: Pair) -> Treatment:
    """Deep mutual learning at T = 1. The peer is the pair's teacher network, untrained.

    The paper does not name the peers; its numbers differ between two teachers of one student, so it is not the student.
    """
    return Treatment("dml", params(ce=1, mutual=1), peer=True)


def takd(source: Recipe, pair: Pair) -> Treatment:
    """KD through an assistant. The paper does not name them: see `assistant_of`."""
    return replace(kd(source), assistant=assistant_of(pair))


def assistant_of(pair: Pair) -> str:
    """The pair's entry of ASSISTANTS; of other pairs the network of the teacher's kind (for large images or small)
    whose size is nearest to the geometric mean of the two.
    """
    if pair in ASSISTANTS:
        return ASSISTANTS[pair]
    large = pair.teacher.startswith("imagenet_")
    others = [
        name for name in MILLIONS if name.startswith("imagenet_") == large and name not in (pair.teacher, pair.student)
    ]
    middle = math.sqrt(MILLIONS.get(pair.teacher, 1) * MILLIONS.get(pair.student, 1))
    return min(others, key=lambda name: (abs(math.log(MILLIONS[name] / middle)), name))


def multi(source: Recipe, pair: Pair) -> Treatment:
    """Multi-level KD: half the usual learning rate but for the light networks, and more epochs for some pairs.

    The longer schedules keep the milestones of the usual one, as the released configurations do. The loss is that of
    the released code (see `methods/multi`).
    """
    epochs = source.multi_epochs.get(pair)
    return Treatment(
        "multi",
        params(ce=0.1, kd=0.9, released=1, strong=1),
        Temperature(MULTI_BASE),
        lr=None if pair.student in LIGHT_NETWORKS else source.lr / 2,
        schedule=Schedule(epochs, source.plain.milestones) if epochs else None,
    )


def multi_plain(source: Recipe, pair: Pair) -> Treatment:
    """Multi-level KD by KD's learning rate and schedule, without strong views."""
    numbers = dict(multi(source, pair).params) | {"strong": 0.0}
    return Treatment("multi", params(**numbers), Temperature(MULTI_BASE))


def energy_multi(source: Recipe, pair: Pair) -> Treatment:
    """Multi-level KD with Energy KD's temperatures: its five temperatures are multiplied by T_i / 4.

    A choice made here: T- = -2 added to the lowest of the five, 2, would leave 0. The schedule is multi-level KD's.
    """
    own = energy_temperature(source, pair)
    ratio = MULTI_BASE / own.base
    return replace(
        multi(source, pair),
        temperature=Temperature(MULTI_BASE, "energy", own.plus * ratio, own.minus * ratio, own.rate),
    )
