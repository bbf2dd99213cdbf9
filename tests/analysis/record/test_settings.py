"""From what was asked to the fields of each run: schedules, teachers, overrides, and what a caption must own up to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.record.settings import Settings, deviations, from_json, parse_pair, parse_value
from analysis.record.specs import student_spec, teacher_spec, vanilla_spec
from trainables.errors import UserError
from trainables.recipes import (
    CIFAR100,
    RESNET_56_20,
    VGG_13_8,
    VGG_13_MV2,
    Treatment,
    cutmix,
    dkd,
    energy_dkd,
    energy_kd,
    kd,
    mixup,
)
from trainables.rivals import ctkd, lskd, ttm
from trainables.spec import RunSpec, Temperature, params

TEACHER = ("vgg13", "a" * 64)
WORD = st.text(max_size=8)


def taught(treatment: Treatment, *, seed: int = 1, **asked: Any) -> RunSpec:
    """VGG8 taught by VGG13."""
    return student_spec(Settings(**asked), VGG_13_8, treatment, seed)


def overridden(treatment: Treatment, *overrides: tuple[str, str]) -> RunSpec:
    return taught(treatment, overrides=overrides)


WHOLE = st.integers(1 - 2**63, 2**63 - 1)


@given(
    st.builds(
        Settings,
        dataset=WORD,
        data=WORD,
        pairs=st.lists(WORD).map(tuple),
        rows=st.lists(WORD).map(tuple),
        seeds=st.integers(1, 100),
        epochs=st.none() | WHOLE,
        train_fraction=st.floats(allow_nan=False, allow_infinity=False),
        batch_size=st.none() | WHOLE,
        precision=WORD,
        teachers=st.lists(st.tuples(WORD, WORD)).map(tuple),
        overrides=st.lists(st.tuples(st.sampled_from(["lr", "mixing.rate", "params.beta"]), WORD)).map(tuple),
    )
)
def test_settings_survive_their_json(asked: Settings) -> None:
    assert from_json(asked.as_json()) == asked


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "9" * 5000, '{"pairs": 1}', '{"gpus": 8}'])
def test_json_that_is_no_settings(text: str) -> None:
    with pytest.raises(UserError, match="settings cannot be read"):
        from_json(text)


def test_json_with_a_setting_of_a_newer_version() -> None:
    fields = json.loads(Settings().as_json()) | {"colour": "red"}
    with pytest.raises(UserError, match="colour"):
        from_json(json.dumps(fields))


def test_the_defaults_are_the_papers() -> None:
    spec = taught(kd(CIFAR100))
    assert (spec.dataset, spec.epochs, spec.milestones, spec.lr) == ("cifar100", 240, (150, 180, 210), 0.05)
    assert (spec.batch_size, spec.momentum, spec.weight_decay, spec.precision) == (64, 0.9, 5e-4, "fp32")
    assert student_spec(Settings(), VGG_13_MV2, kd(CIFAR100), 1).lr == 0.01
    assert taught(energy_kd(CIFAR100, VGG_13_8)).epochs == 360
    assert deviations(Settings()) == []


def test_milestones_and_warm_up_scale_with_the_epochs() -> None:
    plain, long = taught(dkd(CIFAR100, VGG_13_8), epochs=24), taught(energy_dkd(CIFAR100, VGG_13_8), epochs=36)
    assert (plain.epochs, plain.milestones, dict(plain.params)["warmup"]) == (24, (15, 18, 21), 2)
    assert (long.epochs, long.milestones, dict(long.params)["warmup"]) == (36, (15, 18, 21, 24, 27, 30), 2)
    assert teacher_spec(Settings(epochs=24), "vgg13").milestones == (15, 18, 21)


def test_the_full_length_written_out_is_the_same_run() -> None:
    for treatment in (kd(CIFAR100), dkd(CIFAR100, VGG_13_8)):
        assert taught(treatment, epochs=240).run_id == taught(treatment).run_id


def test_the_teacher_is_a_run_of_the_same_settings() -> None:
    for asked in ({}, {"epochs": 24}, {"train_fraction": 0.5}, {"precision": "bf16"}, {"batch_size": 128}):
        spec = taught(kd(CIFAR100), **asked)
        assert spec.teacher == "vgg13"
        assert spec.teacher_run == teacher_spec(Settings(**asked), "vgg13").run_id


def test_all_seeds_share_one_teacher() -> None:
    assert len({taught(kd(CIFAR100), seed=seed).teacher_run for seed in (1, 2, 3)}) == 1
    assert len({taught(kd(CIFAR100), seed=seed).run_id for seed in (1, 2, 3)}) == 3


def test_a_given_teacher_is_known_by_its_weights() -> None:
    spec = taught(kd(CIFAR100), teachers=(TEACHER,))
    assert spec.teacher_source == "sha256:" + "a" * 64
    assert spec.teacher_run is None
    assert spec.run_id != taught(kd(CIFAR100)).run_id
    other = student_spec(Settings(teachers=(TEACHER,)), RESNET_56_20, kd(CIFAR100), 1)
    assert other.teacher_run is not None


def test_the_student_alone_has_no_teacher() -> None:
    spec = vanilla_spec(Settings(teachers=(TEACHER,)), VGG_13_8, 2)
    assert (spec.method, spec.teacher, spec.teacher_source, spec.seed) == ("vanilla", None, None, 2)
    assert spec.run_id == vanilla_spec(Settings(), VGG_13_8, 2).run_id


def test_a_teacher_of_one_seed_is_its_vanilla_run() -> None:
    assert teacher_spec(Settings(), "vgg8").run_id == vanilla_spec(Settings(), VGG_13_8, 1).run_id


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"seeds": 0}, "seeds 0 must be at least 1"),
        ({"epochs": 0}, "epochs 0 must be at least 1"),
        ({"batch_size": 0}, "batch size 0 must be at least 2"),
        ({"train_fraction": 0}, "train fraction 0"),
        ({"train_fraction": 2}, "train fraction 2"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
        ({"dataset": "mnist"}, "unknown data set 'mnist'"),
    ],
)
def test_impossible_settings(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        taught(kd(CIFAR100), **asked)


@pytest.mark.parametrize(("typed", "meant"), [("0.1", 0.1), (".1", 0.1), ("1.", 1.0), ("kd", "kd"), ("40%", "40%")])
def test_a_value_is_a_number_as_python_writes_it_or_a_word(typed: str, meant: object) -> None:
    assert parse_value(typed) == meant


def test_an_override_of_every_kind() -> None:
    assert overridden(kd(CIFAR100), ("lr", "0.1")).lr == 0.1
    assert overridden(kd(CIFAR100), ("milestones", "[5, 10]")).milestones == (5, 10)
    assert overridden(kd(CIFAR100), ("augmentation", "none")).augmentation == "none"
    assert overridden(kd(CIFAR100), ("augmentation", '"none"')).augmentation == "none"
    assert overridden(kd(CIFAR100), ("temperature.base", "5")).temperature.base == 5
    assert dict(overridden(dkd(CIFAR100, VGG_13_8), ("params.beta", "3")).params)["beta"] == 3
    # A number that the row leaves to the method's default.
    assert dict(overridden(kd(CIFAR100), ("params.plain", "1")).params)["plain"] == 1
    assert overridden(kd(CIFAR100, cutmix(0.5)), ("mixing.rate", "0.25")).mixing == cutmix(0.25)
    energy = overridden(energy_kd(CIFAR100, VGG_13_8), ("temperature.rate", "0.1"), ("temperature.plus", "3"))
    assert (energy.temperature.rate, energy.temperature.plus, energy.temperature.minus) == (0.1, 3, -2)
    ten = overridden(energy_kd(CIFAR100, VGG_13_8, "gradation"), ("temperature.values", "[8, 4, 2]"))
    assert ten.temperature.values == (8, 4, 2)
    turned = overridden(energy_kd(CIFAR100, VGG_13_8), ("temperature.rule", "reversed"))
    assert turned.treatment == "reversed_kd"


def test_overrides_of_rules_with_numbers_of_their_own() -> None:
    pair = RESNET_56_20
    assert overridden(lskd(CIFAR100, pair), ("temperature.tau", "3")).temperature == rule("lskd", tau=3)
    turned = overridden(kd(CIFAR100), ("temperature.rule", "lskd"), ("temperature.tau", "3"))
    assert turned.temperature == rule("lskd", tau=3)
    left = overridden(energy_kd(CIFAR100, pair), ("temperature.rule", "dtkd"), ("temperature.base", "3"))
    assert left.temperature == Temperature(3, "dtkd")
    assert overridden(lskd(CIFAR100, pair), ("temperature.rule", "plain")).temperature == Temperature()
    # What a run's rule does not have is left out, as of a method.
    assert overridden(ttm(CIFAR100, pair), ("temperature.tau", "3")).temperature == rule("ttm", gamma=0.1)
    assert overridden(lskd(CIFAR100, pair), ("temperature.base", "3")).temperature == rule("lskd", tau=2)


def test_a_rules_warm_up_is_scaled_with_the_epochs() -> None:
    (run,) = [student_spec(Settings(epochs=24), VGG_13_8, ctkd(CIFAR100, VGG_13_8), 1)]
    assert dict(run.temperature.numbers)["warmup"] == 1


def rule(name: str, **numbers: float) -> Temperature:
    return Temperature(0, name, numbers=params(**numbers))


def test_the_students_alone_are_overridden_too_but_not_the_teachers() -> None:
    asked = Settings(overrides=(("lr", "0.1"),))
    assert vanilla_spec(asked, VGG_13_8, 1).lr == 0.1
    assert teacher_spec(asked, "vgg13") == teacher_spec(Settings(), "vgg13")


@pytest.mark.parametrize(
    ("treatment", "override"),
    [
        (kd(CIFAR100), ("params.beta", "3")),
        (kd(CIFAR100), ("mixing.rate", "0.25")),
        (kd(CIFAR100, cutmix()), ("mixing.rate", "0.25")),
        (kd(CIFAR100), ("temperature.rate", "0.25")),
        (kd(CIFAR100), ("temperature.values", "[8, 2]")),
        (energy_kd(CIFAR100, VGG_13_8), ("temperature.values", "[8, 2]")),
        (energy_kd(CIFAR100, VGG_13_8, "gradation"), ("temperature.rate", "0.1")),
        (Treatment(), ("temperature.base", "5")),
        (Treatment(), ("mixing.alpha", "2")),
        (kd(CIFAR100), ("lr", "0.05")),
    ],
)
def test_a_run_without_the_field_stays_what_it_is(treatment: Treatment, override: tuple[str, str]) -> None:
    assert overridden(treatment, override).run_id == taught(treatment).run_id


def test_overrides_hold_together_not_one_after_the_other() -> None:
    lower_first = (("temperature.minus", "-5"), ("temperature.base", "8"))
    assert overridden(energy_kd(CIFAR100, VGG_13_8), *lower_first).temperature.minus == -5
    both = (("mixing.rate", "0.5"), ("mixing.selection", "low"))
    assert overridden(kd(CIFAR100, mixup()), *both).mixing == mixup(0.5, "low")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "unknown field 'nothing' of a run: use one of epochs"),
        ("lr.rate", "unknown field 'lr.rate'"),
        ("temperature", "unknown field 'temperature'"),
        ("mixing.", "unknown field"),
        ("params", "unknown field 'params'.*params.NAME"),
        ("params.", "unknown field"),
        ("", "unknown field ''"),
        ("seed", "seed cannot be overridden"),
        ("teacher_source", "teacher_source cannot be overridden"),
        ("dataset", "dataset cannot be overridden"),
        ("timing", "timing cannot be overridden"),
    ],
)
def test_overrides_of_what_is_not_there_or_decided_elsewhere(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        overridden(kd(CIFAR100), (path, "1"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (("lr", "fast"), "'fast' should be of type float"),
        (("lr", "NaN"), "only finite"),
        (("lr", "-1"), "learning rate -1"),
        (("batch_size", "1.5"), "should be of type int"),
        (("batch_size", "9" * 5000), "should be of type int"),
        (("mixing.rate", "0"), "augmentation rate 0"),
        (("mixing.rate", "1.5"), "augmentation rate 1.5"),
        (("temperature.base", "0"), "temperature T = 0"),
        (("temperature.rule", "[1]"), "should be of type str"),
        (("temperature.rule", "energy"), "rate r = 0"),
        (("milestones", "5"), "cannot read a RunSpec"),
    ],
)
def test_overrides_with_impossible_values(override: tuple[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        overridden(kd(CIFAR100, cutmix(0.5)), override)
    assert "\n" not in str(caught.value)


def test_pairs() -> None:
    assert parse_pair("vgg13/vgg8") == VGG_13_8
    assert VGG_13_8.key == "vgg13/vgg8"
    for text in ("", "vgg13", "vgg13/", "/vgg8", "vgg13/vgg8/x"):
        with pytest.raises(UserError, match="should be TEACHER/STUDENT"):
            parse_pair(text)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"dataset": "digits"}, ["data set digits, not the paper's"]),
        (
            {"epochs": 24},
            ["24 epochs instead of 240 (Energy KD and Energy DKD: 360), milestones scaled"],
        ),
        (
            {"epochs": 240},
            ["240 epochs for every run, also for Energy KD and Energy DKD (instead of 360)"],
        ),
        ({"dataset": "digits", "epochs": 12}, ["data set digits, not the paper's"]),
        (
            {"dataset": "digits", "epochs": 3},
            ["data set digits, not the paper's", "3 epochs instead of 12, milestones scaled"],
        ),
        ({"train_fraction": 0.1}, ["0.1 of the training images"]),
        ({"batch_size": 64}, []),
        ({"batch_size": 128}, ["batch size 128 instead of 64"]),
        ({"precision": "bf16"}, ["precision bf16"]),
        ({"seeds": 1}, ["1 seed instead of 3"]),
        ({"seeds": 5}, ["5 seeds instead of 3"]),
        ({"teachers": (TEACHER,)}, ["teacher vgg13 given (sha256 aaaaaaaaaaaa)"]),
        ({"overrides": (("lr", "0.1"), ("mixing.rate", "0.3"))}, ["lr = 0.1", "mixing.rate = 0.3"]),
        ({"pairs": ("vgg13/vgg8",), "rows": ("kd",)}, []),
    ],
)
def test_a_caption_says_what_differs_from_the_paper(asked: dict[str, Any], words: list[str]) -> None:
    assert deviations(Settings(**asked)) == words


@given(st.integers(1, 400), st.sampled_from(["cifar100", "digits"]))
def test_epochs_that_change_any_run_are_always_owned_up_to(epochs: int, dataset: str) -> None:
    usual, asked = Settings(dataset=dataset), Settings(dataset=dataset, epochs=epochs)
    source = usual.recipe
    changed = any(
        student_spec(asked, VGG_13_8, treatment, 1) != student_spec(usual, VGG_13_8, treatment, 1)
        for treatment in (kd(source), dkd(source, VGG_13_8), energy_kd(source, VGG_13_8))
    )
    assert changed == (deviations(asked) != deviations(usual))


def test_the_recipe_of_another_data_set() -> None:
    """Its schedule and numbers, on the data set's own pairs and crops; the settings of before keep their text."""
    own, other = Settings(dataset="digits"), Settings(dataset="digits", recipe_of="imagenet")
    assert "recipe_of" not in own.as_json()
    assert from_json(own.as_json()) == own
    assert from_json(other.as_json()) == other
    recipe = other.recipe
    assert (recipe.name, recipe.pairs, recipe.augmentation) == ("digits", own.recipe.pairs, own.recipe.augmentation)
    assert (recipe.plain.epochs, recipe.lr, recipe.batch_size) == (150, 0.1, 256)
    assert teacher_spec(other, "resnet20").epochs == 150
    assert "the recipe of imagenet" in deviations(other)
    assert other.options()[-2:] == ["--recipe", "imagenet"]
