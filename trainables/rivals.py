"""Methods on logits published since 2022, as numbers: rules that set temperatures, and other losses. Free of torch.

The numbers are those of the released code on CIFAR-100 where it has them; what is a choice made here is said at its
place. All train by KD's schedule.
"""

from __future__ import annotations

from dataclasses import replace

from trainables.recipes import (
    RESNET_50_MV2,
    RESNET_56_20,
    VGG_13_8,
    VGG_13_MV2,
    Pair,
    Recipe,
    Treatment,
    dkd,
    energy_kd,
)
from trainables.spec import Temperature, params

LSKD_NUMBERS = {VGG_13_8: (3, 9), VGG_13_MV2: (3, 9), RESNET_50_MV2: (3, 1)}
"""tau and weight by pair."""
LSKD_USUAL = (2, 9)


def energy_kd_as_kd(source: Recipe, pair: Pair, rule: str = "energy") -> Treatment:
    """Return Energy KD by KD's schedule."""
    return replace(energy_kd(source, pair, rule), long=False)


def lskd(source: Recipe, pair: Pair) -> Treatment:
    """Return KD with logit standardization, with the pair's tau and weight (2 and 9 where none are published)."""
    tau, weight = LSKD_NUMBERS.get(pair, LSKD_USUAL)
    return Treatment("kd", params(ce=0.1, kd=weight), Temperature(0, "lskd", numbers=params(tau=tau)))


def dkd_lskd(source: Recipe, pair: Pair) -> Treatment:
    """Return DKD with logit standardization: tau 2, alpha the weight that KD has with it, beta 8 times as much."""
    _, weight = LSKD_NUMBERS.get(pair, LSKD_USUAL)
    numbers = params(ce=1, alpha=weight, beta=8 * weight, warmup=source.warmup)
    return Treatment("dkd", numbers, Temperature(0, "lskd", numbers=params(tau=2)))


def normkd(source: Recipe, pair: Pair) -> Treatment:
    """Return NormKD."""
    return Treatment("kd", params(ce=0.1, kd=0.9), Temperature(0, "normkd", numbers=params(tau=2)))


def dkd_normkd(source: Recipe, pair: Pair) -> Treatment:
    """Return DKD with NormKD's temperatures and factor, and DKD's own weights (a choice made here)."""
    return replace(dkd(source, pair), temperature=Temperature(0, "normkd", numbers=params(tau=2)))


def dtkd(source: Recipe, pair: Pair, rule: str = "dtkd") -> Treatment:
    """Return DTKD with the weights of its term and of plain KD, 1 and 0.5 for ResNet56/ResNet20, else 3 and 1."""
    own, plain = (1, 0.5) if pair == RESNET_56_20 else (3, 1)
    return Treatment("kd", params(ce=1, kd=own, plain=plain, warmup=source.warmup), Temperature(4, rule))


def ttm(source: Recipe, pair: Pair) -> Treatment:
    """Return TTM with the numbers of VGG13/VGG8, the only pair whose are known here."""
    return Treatment("kd", params(ce=1, kd=45), Temperature(0, "ttm", numbers=params(gamma=0.1)))


def wttm(source: Recipe, pair: Pair) -> Treatment:
    """Return WTTM with the numbers that its code takes together with CRD, the only ones known here."""
    return Treatment("kd", params(ce=1, kd=4), Temperature(0, "wttm", numbers=params(gamma=0.2)))


def spherical(source: Recipe, pair: Pair) -> Treatment:
    """Return spherical KD at T = 4 with KD's weights (a choice made here)."""
    return Treatment("kd", params(ce=0.1, kd=0.9), Temperature(4, "spherical"))


def ctkd(source: Recipe, pair: Pair) -> Treatment:
    """Return CTKD with one temperature for all samples, which learns."""
    numbers = params(lowest=1, span=20, start=1, warmup=10)
    return Treatment("kd", params(ce=0.1, kd=0.9), Temperature(0, "ctkd", numbers=numbers))


def ats(source: Recipe, pair: Pair) -> Treatment:
    """Return ATS with the temperatures 4 and 2 of the labelled class and of the others (a choice from its grid)."""
    numbers = params(true=4, other=2, student=1)
    return Treatment("kd", params(ce=0.5, kd=0.5), Temperature(0, "ats", numbers=numbers))


def eakd(source: Recipe, pair: Pair) -> Treatment:
    """Return KD with EA-KD's factor; bound 100 as in one of its files, KD's weights (a choice made here)."""
    numbers = params(entropy_temperature=3, bound=100)
    return Treatment("kd", params(ce=0.1, kd=0.9), Temperature(4, "eakd", numbers=numbers))


def wsld(source: Recipe, pair: Pair) -> Treatment:
    """Return WSLD with the numbers of its data set."""
    base, weight = (2, 2.5) if source.name == "imagenet" else (4, 2.25)
    return Treatment("kd", params(ce=1, kd=weight), Temperature(base, "wsld"))


def dist(source: Recipe, pair: Pair) -> Treatment:
    """Return DIST with weight 2 for both of its terms; tau 1 on ImageNet, else 4."""
    return Treatment("dist", params(ce=1, weight=2), Temperature(1 if source.name == "imagenet" else 4))


def nkd(source: Recipe, pair: Pair) -> Treatment:
    """Return NKD."""
    return Treatment("nkd", params(ce=1, gamma=1.5), Temperature(1))


def rld(source: Recipe, pair: Pair) -> Treatment:
    """Return RLD."""
    return Treatment("rld", params(ce=1, alpha=1, beta=8, alpha_temperature=1, warmup=source.warmup), Temperature(4))


def abkd(source: Recipe, pair: Pair) -> Treatment:
    """Return ABKD with the numbers of ResNet56/ResNet20, the only pair whose are known here, and CE's weight 1."""
    return Treatment("abkd", params(ce=1, weight=32, alpha=0.8, beta=0.3), Temperature(4))


def dtkd_by_energy(source: Recipe, pair: Pair) -> Treatment:
    """Return DTKD with the sharpness of its text, the energy."""
    return dtkd(source, pair, "dtkd_energy")


TREATMENTS = (
    lskd,
    dkd_lskd,
    normkd,
    dkd_normkd,
    dtkd,
    dtkd_by_energy,
    ttm,
    wttm,
    spherical,
    ctkd,
    ats,
    eakd,
    wsld,
    dist,
    nkd,
    rld,
    abkd,
)


def with_kd_weight(treatment: Treatment, weight: float) -> Treatment:
    """Return the treatment with another weight of its distillation term."""
    return replace(treatment, params=params(**dict(treatment.params) | {"kd": weight}))


def with_kd_gradient(treatment: Treatment, source: Recipe) -> Treatment:
    """Return the treatment with a weight that gives it the gradient of the recipe's KD at the start (`kd_equal`)."""
    ce, weight = source.kd_weights
    numbers = params(ce=ce, kd=weight, reference=source.temperature.base)
    return replace(treatment, method="kd_equal", params=numbers)
