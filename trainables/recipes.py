"""What the paper trains, as numbers: schedules, hyperparameters and pairs of each data set. Free of torch.

Sources: the paper's A.1 and Tables 9-10; the recipes of the methods it builds on. Where the paper is silent the choice
is said at its place. `digits` is this project's own small stand-in: real images, but not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
    """Epochs and the epochs after which the learning rate falls (counted from 1)."""

    epochs: int
    milestones: tuple[int, ...]

    def scaled(self, epochs: int) -> Schedule:
        """The same shape in another number of epochs. Milestones that coincide or reach the end are dropped."""
        scaled = {round(m * epochs / self.epochs) for m in self.milestones}
        return Schedule(epochs, tuple(sorted(m for m in scaled if 0 < m < epochs)))


@dataclass(frozen=True)
class Recipe:
    """The training recipe of one data set. `energy` is the schedule of Energy KD and Energy DKD (A.1: longer)."""

    pairs: tuple[Pair, ...]
    plain: Schedule
    energy: Schedule
    warmup: float
    lr: float = 0.05
    light_lr: float = 0.01
    batch_size: int = 64
    augmentation: str = "crop_flip"
    energy_rate: dict[Pair, float] = field(default_factory=dict)
    dkd_beta: dict[Pair, float] = field(default_factory=dict)
    energy_dkd: dict[Pair, tuple[float, float, float]] = field(default_factory=dict)

    def lr_of(self, student: str) -> float:
        return self.light_lr if student in LIGHT_NETWORKS else self.lr


WRN_40_2_16_2 = Pair("wrn_40_2", "wrn_16_2")
RESNET_56_20 = Pair("resnet56", "resnet20")
RESNET_32X4_8X4 = Pair("resnet32x4", "resnet8x4")
VGG_13_8 = Pair("vgg13", "vgg8")
VGG_13_MV2 = Pair("vgg13", "MobileNetV2")
RESNET_32X4_SV2 = Pair("resnet32x4", "ShuffleV2")

CIFAR100 = Recipe(
    pairs=(WRN_40_2_16_2, RESNET_56_20, RESNET_32X4_8X4, VGG_13_8, VGG_13_MV2, RESNET_32X4_SV2),
    plain=Schedule(240, (150, 180, 210)),
    energy=Schedule(360, (150, 180, 210, 240, 270, 300)),
    warmup=20,
    energy_rate={RESNET_56_20: 0.3, RESNET_32X4_8X4: 0.3},
    dkd_beta={
        RESNET_56_20: 2,
        Pair("resnet110", "resnet32"): 2,
        WRN_40_2_16_2: 6,
        Pair("wrn_40_2", "wrn_40_1"): 6,
        VGG_13_8: 6,
        VGG_13_MV2: 6,
    },
    energy_dkd={VGG_13_8: (2, -2, 0.1), VGG_13_MV2: (1, -1, 0.1), RESNET_32X4_SV2: (4, -1, 0.3)},
)

DIGITS = Recipe(
    pairs=(Pair("resnet20", "resnet8"), Pair("wrn_16_1", "resnet8")),
    plain=Schedule(12, (8, 10)),
    energy=Schedule(12, (8, 10)),
    warmup=1,
    augmentation="crop",
)

RECIPES = {"cifar100": CIFAR100, "digits": DIGITS}


def recipe(dataset: str) -> Recipe:
    """The recipe of a data set; a user's own images train by CIFAR-100's."""
    if dataset == "imagefolder":
        return CIFAR100
    if dataset not in RECIPES:
        raise UserError(f"unknown data set {dataset!r}: use one of {', '.join([*RECIPES, 'imagefolder'])}")
    return RECIPES[dataset]


@dataclass(frozen=True)
class Treatment:
    """How a student is taught: method, temperature, mixing, and which of the two schedules."""

    method: str = "vanilla"
    params: Params = ()
    temperature: Temperature = PLAIN
    mixing: Mixing | None = None
    long: bool = False


VANILLA = Treatment()


def cutmix(rate: float | None = None, selection: str = "high") -> Mixing:
    """HE-DA at `rate` (or another selection); without a rate, CutMix of every sample. alpha 1.0."""
    return Mixing("cutmix") if rate is None else Mixing("cutmix", selection, rate)


def mixup(rate: float | None = None, selection: str = "high") -> Mixing:
    """HE-MixUp at `rate`; without a rate, MixUp of every sample. alpha 0.2."""
    return Mixing("mixup", alpha=0.2) if rate is None else Mixing("mixup", selection, rate, alpha=0.2)


def kd(mixing: Mixing | None = None, temperature: Temperature = PLAIN, long: bool = False) -> Treatment:
    """0.1 cross-entropy + 0.9 KD at T = 4."""
    return Treatment("kd", params(ce=0.1, kd=0.9), temperature, mixing, long)


def dkd(source: Recipe, pair: Pair, mixing: Mixing | None = None) -> Treatment:
    """Cross-entropy + DKD with alpha 1, the pair's beta (8 where none is published) and a linear warm-up."""
    numbers = params(ce=1, alpha=1, beta=source.dkd_beta.get(pair, 8), warmup=source.warmup)
    return Treatment("dkd", numbers, Temperature(), mixing)


def energy_temperature(source: Recipe, pair: Pair, rule: str = "energy") -> Temperature:
    """Table 9: T = 4, T+ = 2, T- = -2, and the pair's r (0.2 where the paper gives none).

    The ten temperatures of the gradation are lost in the paper's text: here ten even steps from T + T+ to T + T-.
    """
    if rule == "gradation":
        return Temperature(4, "gradation", values=tuple(6 - 4 * step / 9 for step in range(10)))
    return Temperature(4, rule, 2, -2, source.energy_rate.get(pair, 0.2))


def energy_kd(source: Recipe, pair: Pair, rule: str = "energy") -> Treatment:
    """Energy KD, or one of its ablations by another temperature rule; KD's weights, the longer schedule."""
    return kd(temperature=energy_temperature(source, pair, rule), long=True)


def energy_dkd(source: Recipe, pair: Pair) -> Treatment:
    """Energy DKD with Table 10's T+, T-, r where it has the pair, else Table 9's."""
    plus, minus, rate = source.energy_dkd.get(pair, (2, -2, source.energy_rate.get(pair, 0.2)))
    return replace(dkd(source, pair), temperature=Temperature(4, "energy", plus, minus, rate), long=True)


def he_da_rate_dkd(pair: Pair) -> float:
    """DKD with HE-DA: the paper's rate is lost with its text; the released configurations use these."""
    return 0.4 if pair == RESNET_56_20 else 0.5
