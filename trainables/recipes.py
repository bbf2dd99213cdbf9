"""What the paper trains, as numbers: schedules, hyperparameters and pairs of each data set. Free of torch.

Sources: the paper's A.1 and Tables 9-12; the recipes of the methods it builds on. Where the paper is silent the choice
is said at its place. `digits` is this project's own small stand-in: real images, but not the paper's. The methods that
the paper compares itself with are in `baselines`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from trainables.errors import UserError
from trainables.spec import PLAIN, Mixing, Params, Temperature, params

TEACHER_SEED = 1
LIGHT_NETWORKS = ("MobileNetV2", "ShuffleV1", "ShuffleV2")


@dataclass(frozen=True)
class Pair:
    """A teacher and a student, by the names of their networks."""

    teacher: str
    student: str

    @property
    def key(self) -> str:
        return f"{self.teacher}/{self.student}"


@dataclass(frozen=True)
class Schedule:
    """How many epochs a run has, and the epochs after which its learning rate falls (milestones, counted from 1)."""

    epochs: int
    milestones: tuple[int, ...]

    def scaled(self, epochs: int) -> Schedule:
        """Return the same shape in another number of epochs. Milestones that coincide or reach the end are dropped."""
        scaled = {round(m * epochs / self.epochs) for m in self.milestones}
        return Schedule(epochs, tuple(sorted(m for m in scaled if 0 < m < epochs)))


@dataclass(frozen=True)
class Recipe:
    """The training recipe of one data set."""

    name: str
    """The data set's."""
    pairs: tuple[Pair, ...]
    plain: Schedule
    energy: Schedule
    """Of Energy KD and Energy DKD (A.1: longer)."""
    warmup: float
    lr: float = 0.05
    light_lr: float = 0.01
    """Of the light networks."""
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: str = "crop_flip"
    normalisation: str = "own"
    temperature: Temperature = PLAIN
    """Of KD and DKD."""
    kd_weights: tuple[float, float] = (0.1, 0.9)
    """Of cross-entropy and KD."""
    energy_base: float = 4
    """The T of Energy KD and Energy DKD."""
    energy_usual: tuple[float, float, float] = (2, -2, 0.2)
    """T+, T- and r of a pair that has none in `energy_kd`."""
    energy_kd: dict[Pair, tuple[float, float, float]] = field(default_factory=dict)
    """Of Energy KD, and of Energy DKD where a pair has none in `energy_dkd`."""
    energy_dkd: dict[Pair, tuple[float, float, float]] = field(default_factory=dict)
    dkd_beta: dict[Pair, float] = field(default_factory=dict)
    """8 where a pair has none."""
    review_weight: dict[Pair, float] = field(default_factory=dict)
    """Of ReviewKD's loss, 5 where a pair has none."""
    review_preactivations: bool = False
    ofd_weight: float = 0.001
    multi_epochs: dict[Pair, int] = field(default_factory=dict)
    """Of multi-level KD, those of `plain` where a pair has none."""
    negatives: int = 16384
    """That CRD draws for each image."""
    imbalance: float = 1.0
    """Smallest class of the training set over its largest."""
    whole: str = ""
    """The data set of which this one is a part; its teachers train on it."""

    def lr_of(self, student: str) -> float:
        """Return the learning rate of a student."""
        return self.light_lr if student in LIGHT_NETWORKS else self.lr

    def schedule_of(self, treatment: Treatment) -> Schedule:
        """Return the treatment's own schedule if it has one, else one of this recipe's two."""
        return treatment.schedule or (self.energy if treatment.long else self.plain)


WRN_40_2_16_2 = Pair("wrn_40_2", "wrn_16_2")
WRN_40_2_40_1 = Pair("wrn_40_2", "wrn_40_1")
RESNET_56_20 = Pair("resnet56", "resnet20")
RESNET_110_32 = Pair("resnet110", "resnet32")
RESNET_32X4_8X4 = Pair("resnet32x4", "resnet8x4")
VGG_13_8 = Pair("vgg13", "vgg8")
WRN_40_2_SV1 = Pair("wrn_40_2", "ShuffleV1")
RESNET_50_MV2 = Pair("ResNet50", "MobileNetV2")
RESNET_32X4_SV1 = Pair("resnet32x4", "ShuffleV1")
RESNET_32X4_SV2 = Pair("resnet32x4", "ShuffleV2")
VGG_13_MV2 = Pair("vgg13", "MobileNetV2")
IMAGENET_50_MV1 = Pair("imagenet_resnet50", "MobileNetV1")
IMAGENET_34_18 = Pair("imagenet_resnet34", "imagenet_resnet18")

CIFAR100 = Recipe(
    name="cifar100",
    pairs=(WRN_40_2_16_2, RESNET_56_20, RESNET_32X4_8X4, VGG_13_8, VGG_13_MV2, RESNET_32X4_SV2),
    plain=Schedule(240, (150, 180, 210)),
    energy=Schedule(360, (150, 180, 210, 240, 270, 300)),
    warmup=20,
    energy_kd={RESNET_56_20: (2, -2, 0.3), RESNET_32X4_8X4: (2, -2, 0.3)},
    energy_dkd={VGG_13_8: (2, -2, 0.1), VGG_13_MV2: (1, -1, 0.1), RESNET_32X4_SV2: (4, -1, 0.3)},
    dkd_beta={
        RESNET_56_20: 2,
        RESNET_110_32: 2,
        WRN_40_2_16_2: 6,
        WRN_40_2_40_1: 6,
        VGG_13_8: 6,
        VGG_13_MV2: 6,
    },
    review_weight={RESNET_56_20: 0.6, RESNET_110_32: 1, RESNET_32X4_SV2: 8, RESNET_50_MV2: 30},
    multi_epochs={
        RESNET_50_MV2: 480,
        VGG_13_MV2: 480,
        WRN_40_2_SV1: 480,
        RESNET_32X4_SV1: 960,
        RESNET_32X4_SV2: 960,
    },
)

CIFAR100_LT = replace(
    CIFAR100,
    name="cifar100_lt",
    pairs=(RESNET_32X4_8X4, VGG_13_8, VGG_13_MV2, RESNET_32X4_SV2),
    energy_kd={VGG_13_8: (1, -1, 0.2), VGG_13_MV2: (1, -1, 0.2)},
    imbalance=0.5,
    whole="cifar100",
)

# CIFAR-10 is not in the paper: CIFAR-100's recipe.
CIFAR10 = replace(CIFAR100, name="cifar10")

# The paper gives no recipe for TinyImageNet: CIFAR-100's, with the crops and the normalisation of the code from which
# its CutMix rows come (Wang et al., "What Makes a Good Data Augmentation in Knowledge Distillation", 2022).
TINYIMAGENET = replace(CIFAR100, name="tinyimagenet", augmentation="crop8_flip", normalisation="imagenet")

# A user's own images train by CIFAR-100's numbers; they are not the paper's data set.
IMAGEFOLDER = replace(CIFAR100, name="imagefolder")

# T = 1 for KD and DKD and KD's weights as in mdistiller, with which the paper's T- = -1 would leave a temperature of 0:
# energy departs from T = 2 here (3 / 2 / 1). ReviewKD's weights, warm-up and maps (the student's before their ReLU) and
# OFD's weight are mdistiller's too.
IMAGENET = Recipe(
    name="imagenet",
    pairs=(IMAGENET_50_MV1, IMAGENET_34_18),
    plain=Schedule(150, (30, 60, 90, 120)),
    energy=Schedule(150, (30, 60, 90, 120)),
    warmup=1,
    lr=0.1,
    light_lr=0.1,
    batch_size=256,
    weight_decay=1e-4,
    augmentation="random_resized_crop_flip",
    temperature=Temperature(1),
    kd_weights=(0.5, 0.5),
    energy_base=2,
    energy_usual=(1, -1, 0.2),
    dkd_beta={IMAGENET_34_18: 0.5, IMAGENET_50_MV1: 2},
    review_weight={IMAGENET_34_18: 1, IMAGENET_50_MV1: 8},
    review_preactivations=True,
    ofd_weight=0.0001,
)

DIGITS = Recipe(
    name="digits",
    pairs=(Pair("resnet20", "resnet8"), Pair("wrn_16_1", "resnet8")),
    plain=Schedule(12, (8, 10)),
    energy=Schedule(12, (8, 10)),
    warmup=1,
    augmentation="crop",
    negatives=256,
)


@dataclass(frozen=True)
class Treatment:
    """How a student is taught.

    Attributes:
        method: The name of a method.
        params: The method's own numbers, see `params`.
        temperature: None if the method has no temperature.
        mixing: None if no images are mixed.
        long: Whether Energy KD's schedule is meant, which is longer than KD's on CIFAR-100.
        lr: A learning rate of its own, instead of the recipe's.
        schedule: A schedule of its own, instead of the recipe's.
        assistant: A network between the two: the teacher teaches it by KD, and it teaches the student (TAKD).
        peer: Whether the teacher's network learns from scratch beside the student (deep mutual learning).
        membership: See `RunSpec`.
    """

    method: str = "vanilla"
    params: Params = ()
    temperature: Temperature | None = None
    mixing: Mixing | None = None
    long: bool = False
    lr: float | None = None
    schedule: Schedule | None = None
    assistant: str | None = None
    peer: bool = False
    membership: str = "view"


VANILLA = Treatment()


def cutmix(rate: float | None = None, selection: str = "high") -> Mixing:
    """Return CutMix of the `rate` share of highest energy (HE-DA) or of another selection. Without a rate, of all.

    alpha is 1.
    """
    return Mixing("cutmix") if rate is None else Mixing("cutmix", selection, rate)


def mixup(rate: float | None = None, selection: str = "high") -> Mixing:
    """Return MixUp of the `rate` share of highest energy (HE-MixUp) or of another selection. Without a rate, of all.

    alpha is 0.2, as for HE-MixUp in the released code.
    """
    return Mixing("mixup", alpha=0.2) if rate is None else Mixing("mixup", selection, rate, alpha=0.2)


def kd(
    source: Recipe, mixing: Mixing | None = None, temperature: Temperature | None = None, long: bool = False
) -> Treatment:
    """Return KD: cross-entropy and KD with the recipe's weights, at its temperature unless another is given."""
    ce, weight = source.kd_weights
    return Treatment("kd", params(ce=ce, kd=weight), temperature or source.temperature, mixing, long)


def dkd(source: Recipe, pair: Pair, mixing: Mixing | None = None) -> Treatment:
    """Return DKD with alpha 1, the pair's beta (8 where none is published) and a linear warm-up."""
    numbers = params(ce=1, alpha=1, beta=source.dkd_beta.get(pair, 8), warmup=source.warmup)
    return Treatment("dkd", numbers, source.temperature, mixing)


def energy_temperature(source: Recipe, pair: Pair, rule: str = "energy") -> Temperature:
    """Return T, T+, T- and r of a pair by Tables 9, 11 and 12. Of CIFAR-100 pairs without any: 4, 2, -2 and 0.2.

    The ten temperatures of the gradation are lost in the paper's text. Here they are even steps from T + T+ to T + T-.
    """
    plus, minus, rate = source.energy_kd.get(pair, source.energy_usual)
    base = source.energy_base
    if rule == "gradation":
        return Temperature(base, rule, values=tuple(base + plus - (plus - minus) * step / 9 for step in range(10)))
    return Temperature(base, rule, plus, minus, rate)


def energy_kd(source: Recipe, pair: Pair, rule: str = "energy") -> Treatment:
    """Return Energy KD, or an ablation by another temperature rule, with KD's weights and the longer schedule."""
    return kd(source, temperature=energy_temperature(source, pair, rule), long=True)


def energy_dkd(source: Recipe, pair: Pair) -> Treatment:
    """Return Energy DKD with the T+, T- and r of Table 10 if it has the pair, else Energy KD's."""
    own = source.energy_dkd.get(pair)
    temperature = Temperature(source.energy_base, "energy", *own) if own else energy_temperature(source, pair)
    return replace(dkd(source, pair), temperature=temperature, long=True)


def he_da_rate_dkd(pair: Pair) -> float:
    """DKD with HE-DA: the paper's rate is lost with its text; the released configurations use these."""
    return 0.4 if pair == RESNET_56_20 else 0.5


def sum_of(one: Treatment, two: Treatment) -> Treatment:
    """Return both methods at once: one's cross-entropy, each method's own numbers, and a factor of 1 for each.

    A temperature, a mixing, a schedule or a learning rate that one of them has is that of the sum; the first's, if
    both have the same.
    """
    if one.assistant or two.assistant or one.peer or two.peer or "vanilla" in (one.method, two.method):
        raise UserError(f"{one.method}+{two.method}: rows with an assistant, a peer or no teacher cannot be summed")
    common: dict[str, Any] = {}
    for name in ("temperature", "mixing", "schedule", "lr"):
        own, other = getattr(one, name), getattr(two, name)
        if own is not None and other is not None and own != other:
            raise UserError(f"{one.method}+{two.method}: the rows have another {name} each, and a run has one")
        common[name] = other if own is None else own
    numbers = {f"{each.method}.{name}": value for each in (one, two) for name, value in each.params if name != "ce"}
    numbers |= {"ce": dict(one.params).get("ce", 1), **{f"{each.method}.factor": 1 for each in (one, two)}}
    long, membership = one.long or two.long, "image" if "image" in (one.membership, two.membership) else "view"
    method = f"{one.method}+{two.method}"
    return Treatment(method, params(**numbers), **common, long=long, membership=membership)
