"""The numbers of the methods that the paper compares itself with, and of multi-level KD."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainables import baselines
from trainables.baselines import (
    ASSISTANTS,
    MILLIONS,
    assistant_of,
    crd,
    dml,
    energy_multi,
    multi,
    multi_plain,
    ofd,
    reviewkd,
    takd,
)
from trainables.models import build, names
from trainables.recipes import (
    CIFAR100,
    DIGITS,
    IMAGENET,
    IMAGENET_34_18,
    IMAGENET_50_MV1,
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
    kd,
)
from trainables.spec import PLAIN, Temperature

PAIRS = (
    *(WRN_40_2_16_2, WRN_40_2_40_1, RESNET_56_20, RESNET_110_32, RESNET_32X4_8X4, VGG_13_8),
    *(WRN_40_2_SV1, RESNET_50_MV2, RESNET_32X4_SV1, RESNET_32X4_SV2, VGG_13_MV2),
)


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        ("fitnet", {"ce": 1, "weight": 100, "feature": 2}),
        ("at", {"ce": 1, "weight": 1000, "power": 2}),
        ("pkt", {"ce": 1, "weight": 30000}),
        ("rkd", {"ce": 1, "distance": 25, "angle": 50}),
        ("vid", {"ce": 1, "weight": 1, "variance": 5, "eps": 1e-5}),
        (
            "crd",
            {"ce": 1, "weight": 0.8, "dimensions": 128, "negatives": 16384, "temperature": 0.07, "momentum": 0.5},
        ),
        ("ofd", {"ce": 1, "weight": 0.001}),
        ("reviewkd", {"ce": 1, "weight": 5, "warmup": 20, "preactivations": 0}),
        ("dml", {"ce": 1, "mutual": 1}),
        ("multi", {"ce": 0.1, "kd": 0.9, "released": 1, "strong": 1}),
    ],
)
def test_the_methods_numbers(method: str, numbers: dict[str, float]) -> None:
    treatment = getattr(baselines, method)(CIFAR100, VGG_13_8)
    assert (treatment.method, dict(treatment.params)) == (method, numbers)
    assert not treatment.long
    assert treatment.mixing is None


@pytest.mark.parametrize(
    ("source", "pair", "weight", "warmup"),
    [
        (CIFAR100, WRN_40_2_16_2, 5, 20),
        (CIFAR100, RESNET_32X4_SV1, 5, 20),
        (CIFAR100, RESNET_32X4_SV2, 8, 20),
        (CIFAR100, RESNET_56_20, 0.6, 20),
        (CIFAR100, RESNET_110_32, 1, 20),
        (CIFAR100, RESNET_50_MV2, 30, 20),
        (CIFAR100, VGG_13_MV2, 5, 20),
        (IMAGENET, IMAGENET_34_18, 1, 1),
        (IMAGENET, IMAGENET_50_MV1, 8, 1),
    ],
)
def test_the_weight_of_reviewkd_is_the_pairs(source: Recipe, pair: Pair, weight: float, warmup: float) -> None:
    numbers = dict(reviewkd(source, pair).params)
    assert numbers == {"ce": 1, "weight": weight, "warmup": warmup, "preactivations": source is IMAGENET}


def test_ofd_weighs_the_sums_over_large_maps_less() -> None:
    assert dict(ofd(IMAGENET, IMAGENET_50_MV1).params)["weight"] == 0.0001


def test_a_small_data_set_has_few_negatives() -> None:
    assert dict(crd(DIGITS, DIGITS.pairs[0]).params)["negatives"] == 256


@pytest.mark.parametrize("method", [multi, energy_multi])
@pytest.mark.parametrize(
    ("pair", "schedule", "lr"),
    [
        (VGG_13_8, None, 0.025),
        (RESNET_32X4_8X4, None, 0.025),
        (VGG_13_MV2, Schedule(480, (150, 180, 210)), None),
        (RESNET_50_MV2, Schedule(480, (150, 180, 210)), None),
        (WRN_40_2_SV1, Schedule(480, (150, 180, 210)), None),
        (RESNET_32X4_SV1, Schedule(960, (150, 180, 210)), None),
        (RESNET_32X4_SV2, Schedule(960, (150, 180, 210)), None),
    ],
)
def test_multi_level_kd_has_its_own_rate_and_length(
    method: Callable[[Recipe, Pair], Treatment], pair: Pair, schedule: Schedule | None, lr: float | None
) -> None:
    assert (method(CIFAR100, pair).schedule, method(CIFAR100, pair).lr) == (schedule, lr)


def test_plain_multi_is_trained_as_kd_is() -> None:
    for pair in (VGG_13_8, RESNET_32X4_SV1):
        plain, usual = multi_plain(CIFAR100, pair), kd(CIFAR100)
        assert (plain.schedule, plain.long, plain.lr) == (usual.schedule, usual.long, usual.lr) == (None, False, None)
        assert dict(plain.params) == dict(multi(CIFAR100, pair).params) | {"strong": 0}
        assert plain.temperature == multi(CIFAR100, pair).temperature


def test_energy_multi_is_multi_with_the_temperatures_of_energy_kd() -> None:
    assert multi(CIFAR100, RESNET_56_20).temperature == PLAIN
    assert energy_multi(CIFAR100, RESNET_56_20).temperature == Temperature(4, "energy", 2, -2, 0.3)
    assert energy_multi(IMAGENET, IMAGENET_34_18).temperature == Temperature(4, "energy", 2, -2, 0.2)
    assert energy_multi(CIFAR100, RESNET_56_20).params == multi(CIFAR100, RESNET_56_20).params


def test_mutual_learning_has_a_peer_and_no_other_method_has() -> None:
    assert dml(CIFAR100, VGG_13_8).peer
    assert dml(CIFAR100, VGG_13_8).temperature is None
    assert not any(method(CIFAR100, VGG_13_8).peer for method in (crd, reviewkd, takd, multi))


def test_takd_is_kd_through_an_assistant() -> None:
    treatment = takd(CIFAR100, RESNET_110_32)
    assert (treatment.method, treatment.params, treatment.assistant) == ("kd", kd(CIFAR100).params, "resnet56")
    assert assistant_of(Pair("resnet110", "resnet8")) == "resnet32"


@pytest.mark.medium
def test_a_pair_without_an_assistant_of_its_own_gets_one_of_the_size_between() -> None:
    assert set(MILLIONS) == set(names()) - {"MobileNetV1"}
    for name, millions in MILLIONS.items():
        size = sum(parameter.numel() for parameter in on_meta(name).parameters())
        assert size / 1e6 == pytest.approx(millions, abs=0.006), name
    assert assistant_of(Pair("resnet110", "resnet8")) == "resnet32"
    assert assistant_of(Pair("imagenet_resnet50", "imagenet_resnet18")) == "imagenet_resnet34"
    assert assistant_of(Pair("vgg8", "vgg8")) != "vgg8"


def on_meta(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        return build(name, 100)


def test_every_pair_has_an_assistant_of_another_network() -> None:
    assert set(ASSISTANTS) >= {*PAIRS, *DIGITS.pairs}
    assert not any(name in (pair.teacher, pair.student) for pair, name in ASSISTANTS.items())


def test_assistants_are_known_networks_smaller_than_the_teachers(ekd_data: Path) -> None:
    known = json.loads((ekd_data / "reference" / "architectures.json").read_text())
    for pair in PAIRS:
        size = {name: known[name]["parameters"] for name in (pair.teacher, ASSISTANTS[pair], pair.student)}
        assert size[pair.teacher] > size[ASSISTANTS[pair]]
        assert size[ASSISTANTS[pair]] > size[pair.student] or pair == VGG_13_8
