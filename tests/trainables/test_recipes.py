"""The paper's numbers: schedules, pairs, rates; against its own text where that is at hand."""

from __future__ import annotations

import itertools
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables import datasets, recipes
from trainables.errors import UserError
from trainables.recipes import (
    CIFAR100,
    CIFAR100_LT,
    DIGITS,
    IMAGENET,
    IMAGENET_34_18,
    IMAGENET_50_MV1,
    LIGHT_NETWORKS,
    RESNET_32X4_8X4,
    RESNET_50_MV2,
    RESNET_56_20,
    RESNET_110_32,
    TINYIMAGENET,
    VGG_13_8,
    VGG_13_MV2,
    WRN_40_2_16_2,
    WRN_40_2_40_1,
    Pair,
    Recipe,
    Schedule,
    cutmix,
    dkd,
    energy_dkd,
    energy_kd,
    energy_temperature,
    he_da_rate_dkd,
    kd,
    mixup,
)
from trainables.spec import Temperature

RECIPES = (CIFAR100, CIFAR100_LT, DIGITS, IMAGENET, TINYIMAGENET)


def reference(name: str) -> Path:
    folder = os.environ.get("EKD_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"the reference file {name} is not here: set EKD_DATA to the folder that has it")
    return Path(folder) / name


@pytest.mark.parametrize(
    ("epochs", "milestones"),
    [
        (240, (150, 180, 210)),
        (480, (300, 360, 420)),
        (120, (75, 90, 105)),
        (24, (15, 18, 21)),
        (10, (6, 8, 9)),
        (4, (2, 3)),
        (2, (1,)),
        (1, ()),
    ],
)
def test_milestones_scale_with_the_epochs(epochs: int, milestones: tuple[int, ...]) -> None:
    assert Schedule(240, (150, 180, 210)).scaled(epochs) == Schedule(epochs, milestones)


@given(st.integers(1, 2000), st.sampled_from([schedule for r in RECIPES for schedule in (r.plain, r.energy)]))
def test_scaled_milestones_rise_inside_the_training(epochs: int, schedule: Schedule) -> None:
    scaled = schedule.scaled(epochs)
    assert list(scaled.milestones) == sorted(set(scaled.milestones))
    assert all(0 < milestone < epochs for milestone in scaled.milestones)
    assert all(
        min(abs(milestone / epochs - own / schedule.epochs) for own in schedule.milestones) <= 0.5 / epochs + 1e-12
        for milestone in scaled.milestones
    )


@pytest.mark.parametrize("source", RECIPES)
def test_a_schedule_scaled_to_its_own_length_is_itself(source: Recipe) -> None:
    for schedule in (source.plain, source.energy):
        assert schedule.scaled(schedule.epochs) == schedule


def test_the_papers_schedules() -> None:
    text = reference("paper/energy_kd.txt").read_text()
    sentence = re.search(
        r"CIFAR-100: A batch size of (\d+) and (\d+) epochs.*?began at ([\d.]+).*?every (.*?) epochs", text
    )
    assert sentence is not None
    assert int(sentence[1]) == CIFAR100.batch_size
    assert float(sentence[3]) == CIFAR100.lr
    assert CIFAR100.energy == Schedule(int(sentence[2]), tuple(map(int, re.findall(r"\d+", sentence[4]))))


def test_the_papers_schedule_on_imagenet() -> None:
    text = reference("paper/energy_kd.txt").read_text()
    sentence = re.search(
        r"ImageNet: A batch size of (\d+) and (\d+) epochs.*?began at ([\d.]+) .*?every (.*?) epochs", text
    )
    assert sentence is not None
    assert (int(sentence[1]), float(sentence[3])) == (IMAGENET.batch_size, IMAGENET.lr)
    schedule = Schedule(int(sentence[2]), tuple(map(int, re.findall(r"\d+", sentence[4]))))
    assert schedule == IMAGENET.plain == IMAGENET.energy
    assert {IMAGENET.lr_of(student) for student in ("MobileNetV1", "imagenet_resnet18", *LIGHT_NETWORKS)} == {0.1}
    assert (IMAGENET.weight_decay, IMAGENET.momentum) == (1e-4, 0.9)


def test_where_the_paper_gives_no_schedule_it_is_that_of_cifar_100() -> None:
    for source in (CIFAR100_LT, TINYIMAGENET):
        assert (source.plain, source.energy, source.lr) == (CIFAR100.plain, CIFAR100.energy, CIFAR100.lr)
        assert (source.batch_size, source.weight_decay) == (CIFAR100.batch_size, CIFAR100.weight_decay)
        assert source is not CIFAR100
    assert TINYIMAGENET.pairs == CIFAR100.pairs


def _appendix(student_row: str) -> list[list[float]]:
    """The three rows of numbers (T+, |T-|, r) below a heading of the appendix's tables."""
    text = reference("paper/energy_kd.txt").read_text()
    rows = text[text.index(student_row) :].splitlines()[2:5]
    return [[float(number) for number in re.findall(r"\d+\.\d+", row)] for row in rows]


def test_table_9() -> None:
    plus, minus, rate = _appendix("Student | WRN-16-2 | ResNet-20 | ResNet-8X4 | VGG-8 | MobileNetV2 | ShuffleNetV2")
    for number, pair in enumerate(CIFAR100.pairs):
        temperature = energy_kd(CIFAR100, pair).temperature
        assert (temperature.base, temperature.rule) == (4, "energy")
        assert (temperature.plus, -temperature.minus, temperature.rate) == (plus[number], minus[number], rate[number])


def test_table_10() -> None:
    plus, minus, rate = _appendix("Student | VGG-8 | MobileNetV2 | ShuffleNetV2 |\n")
    pairs = [pair for pair in CIFAR100.pairs if pair.student in ("vgg8", "MobileNetV2", "ShuffleV2")]
    for number, pair in enumerate(pairs):
        temperature = energy_dkd(CIFAR100, pair).temperature
        assert (temperature.plus, -temperature.minus, temperature.rate) == (plus[number], minus[number], rate[number])


def test_table_11() -> None:
    plus, minus, rate = _appendix("Student | ResNet-8X4 | VGG-8 | MobileNetV2 | ShuffleNetV2 |\n")
    assert [pair.student for pair in CIFAR100_LT.pairs] == ["resnet8x4", "vgg8", "MobileNetV2", "ShuffleV2"]
    for number, pair in enumerate(CIFAR100_LT.pairs):
        temperature = energy_kd(CIFAR100_LT, pair).temperature
        assert temperature == Temperature(4, "energy", plus[number], -minus[number], rate[number])


def test_table_12() -> None:
    plus, minus, rate = _appendix("Student | ResNet-18 | MobileNetV1 |\n")
    for number, pair in enumerate((IMAGENET_34_18, IMAGENET_50_MV1)):
        temperature = energy_dkd(IMAGENET, pair).temperature
        assert temperature == Temperature(2, "energy", plus[number], -minus[number], rate[number])


def test_on_imagenet_kd_and_dkd_keep_one_temperature_of_1() -> None:
    assert dkd(IMAGENET, IMAGENET_34_18).temperature == IMAGENET.temperature == Temperature(1)
    assert energy_temperature(IMAGENET, IMAGENET_34_18, "gradation").values[::9] == (3, 1)
    with pytest.raises(UserError, match=r"T \+ T- = 0 must be above 0"):
        Temperature(1, "energy", 1, -1, 0.2)


def test_the_pairs_of_tables_1_and_2() -> None:
    text = reference("paper/energy_kd.txt").read_text()
    tables = text[text.index("4.2 Effect of EnergyKD") : text.index("Table 1 displays")]
    names = re.findall(r"^(?:Teacher|Student) \| (.*?) \|(?: \|)?$", tables, re.MULTILINE)
    teachers, students = (" | ".join(names[start::2]).split(" | ") for start in (0, 1))
    printed = {"resnet56/MobileNetV2": "ResNet50/MobileNetV2"}
    keys = {f"{teacher}/{student}" for teacher, student in zip(map(_own, teachers), map(_own, students), strict=True)}
    pairs = {pair.key for pair in vars(recipes).values() if isinstance(pair, Pair)} - {p.key for p in IMAGENET.pairs}
    assert {printed.get(key, key) for key in keys} == pairs
    assert len(pairs) == 11


def _own(name: str) -> str:
    """A network's name here, by the paper's."""
    name = name.replace("ShuffleNet", "Shuffle")
    return name if name.startswith(("Mobile", "Shuffle")) else name.lower().replace("-", "_")


def test_energy_dkd_without_numbers_of_its_own_takes_those_of_energy_kd() -> None:
    assert energy_dkd(CIFAR100, RESNET_56_20).temperature == energy_temperature(CIFAR100, RESNET_56_20)
    assert energy_dkd(CIFAR100, RESNET_56_20).temperature.rate == 0.3


def test_every_network_has_a_known_architecture() -> None:
    known = json.loads(reference("reference/architectures.json").read_text())
    for source in (source for source in RECIPES if source != IMAGENET):
        for pair in source.pairs:
            assert {pair.teacher, pair.student} <= set(known)
    assert set(LIGHT_NETWORKS) <= set(known)


def test_learning_rates() -> None:
    assert {student: CIFAR100.lr_of(student) for student in ("wrn_16_2", "vgg8", *LIGHT_NETWORKS)} == {
        "wrn_16_2": 0.05,
        "vgg8": 0.05,
        "MobileNetV2": 0.01,
        "ShuffleV1": 0.01,
        "ShuffleV2": 0.01,
    }


def test_only_the_energy_methods_train_longer() -> None:
    assert energy_kd(CIFAR100, VGG_13_8).long
    assert energy_dkd(CIFAR100, VGG_13_8).long
    assert not kd(CIFAR100).long
    assert not dkd(CIFAR100, VGG_13_8).long
    assert not kd(CIFAR100, cutmix(0.5)).long


@pytest.mark.parametrize(
    ("pair", "beta"),
    [
        (RESNET_56_20, 2),
        (RESNET_110_32, 2),
        (WRN_40_2_16_2, 6),
        (VGG_13_8, 6),
        (RESNET_32X4_8X4, 8),
        (WRN_40_2_40_1, 6),
        (VGG_13_MV2, 6),
        (RESNET_50_MV2, 8),
        (Pair("a", "b"), 8),
    ],
)
def test_dkd_parameters(pair: Pair, beta: float) -> None:
    assert dict(dkd(CIFAR100, pair).params) == {"ce": 1, "alpha": 1, "beta": beta, "warmup": 20}


@pytest.mark.parametrize(("pair", "beta"), [(IMAGENET_34_18, 0.5), (IMAGENET_50_MV1, 2)])
def test_dkd_parameters_on_imagenet(pair: Pair, beta: float) -> None:
    assert dict(dkd(IMAGENET, pair).params) == {"ce": 1, "alpha": 1, "beta": beta, "warmup": 1}


def test_kd_weights() -> None:
    assert dict(kd(IMAGENET).params) == {"ce": 0.5, "kd": 0.5}
    assert dict(kd(CIFAR100).params) == dict(energy_kd(CIFAR100, VGG_13_8).params) == {"ce": 0.1, "kd": 0.9}


def test_ten_even_temperatures_from_the_lowest_energy_to_the_highest() -> None:
    values = energy_temperature(CIFAR100, VGG_13_8, "gradation").values
    assert (values[0], values[-1], len(values)) == (6, 2, 10)
    steps = [before - after for before, after in itertools.pairwise(values)]
    assert steps == pytest.approx([4 / 9] * 9)


def test_mixing() -> None:
    assert (cutmix().selection, cutmix().rate, cutmix().alpha) == ("all", 1, 1)
    assert (cutmix(0.3).selection, cutmix(0.3).rate) == ("high", 0.3)
    assert (mixup().alpha, mixup(0.3, "low").selection, mixup(0.3).alpha) == (0.2, "low", 0.2)
    assert (he_da_rate_dkd(RESNET_56_20), he_da_rate_dkd(VGG_13_8)) == (0.4, 0.5)


def test_recipes_by_name() -> None:
    assert [datasets.find(name).recipe.name for name in datasets.names()] == list(datasets.names())
    assert datasets.find("cifar100").recipe == CIFAR100
    own = datasets.find("imagefolder").recipe
    assert own != CIFAR100
    assert replace(own, name="cifar100") == CIFAR100
    with pytest.raises(UserError, match=r"unknown data set 'mnist': use one of cifar10, cifar100, "):
        datasets.find("mnist")
