"""A run's name shows what was set in it, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from trainables.recipes import Pair
from trainables.run_names import name_of
from trainables.spec import RunSpec, Temperature, params

PAIR = Pair("resnet20", "resnet8")


def runs(table: str, row: str, **settings: object) -> list[RunSpec]:
    asked = replace(Settings(dataset="digits", pairs=(PAIR.key,), rows=(row,), seeds=1), **settings)
    return [spec for specs in resolve(paper.find(table), asked).cells.values() for spec in specs]


@pytest.mark.parametrize("settings", [Settings(dataset=""), Settings(dataset="digits", epochs=7, seeds=1)])
def test_a_run_in_which_nothing_was_set_has_its_plain_name(settings: Settings) -> None:
    for key in paper.tables().keys() - {"weights"}:  # Its rows set the weights, which their names show.
        for spec in resolve(paper.find(key), settings).runs:
            assert name_of(spec) == spec.name


@pytest.mark.parametrize(
    ("table", "row", "path", "value", "shown"),
    [
        ("direction", "energy_kd", "temperature.plus", "3", "energy_kd-T+=3-e12"),
        ("direction", "energy_kd", "temperature.minus", "-1.5", "energy_kd-T-=-1.5-e12"),
        ("direction", "energy_kd_reversed", "temperature.rate", "0.35", "reversed_kd-r0.35-e12"),
        ("direction", "kd", "temperature.base", "2", "kd-T2-e12"),
        ("direction", "kd", "lr", "0.02", "kd-lr0.02-e12"),
        ("direction", "kd", "milestones", "[3,6]", "kd-at3_6-e12"),
        ("direction", "kd", "params.kd", "1.5", "kd-kd1.5-e12"),
        ("direction", "kd", "augmentation", '"none"', "kd-augmentation_none-e12"),
        ("temperatures", "lskd", "temperature.tau", "3", "lskd_kd-tau3-e12"),
        ("temperatures", "lskd", "params.kd", "0.9", "lskd_kd-kd0.9-e12"),
        ("temperatures", "dtkd", "temperature.base", "2", "dtkd_kd-T2-e12"),
        ("temperatures", "ctkd", "temperature.warmup", "3", "ctkd_kd-warmup3-e12"),
        ("temperatures", "kd", "temperature.rule", "spherical", "spherical_kd-e12"),
        ("table5", "kd_he_da_40", "mixing.rate", "0.6", "kd-he_cutmix60-e12"),
        ("table5", "kd_he_da_40", "mixing.alpha", "0.5", "kd-he_cutmix40-alpha0.5-e12"),
    ],
)
def test_what_was_set_is_in_the_name(table: str, row: str, path: str, value: str, shown: str) -> None:
    (spec,) = runs(table, row, overrides=((path, value),))
    assert f"-{shown}-s1-" in name_of(spec)
    assert name_of(spec).endswith(spec.run_id[:6])


def test_options_are_shown_too() -> None:
    (spec,) = runs("direction", "kd", batch_size=32, precision="bf16", train_fraction=0.2)
    assert "-kd-batch32-part0.2-bf16-e12-" in name_of(spec)


def test_all_numbers_of_a_method_that_no_table_has() -> None:
    (spec,) = runs("direction", "kd")
    mine = replace(spec, method="mine", params=params(weight=2))
    assert "-mine-weight2-e12-" in name_of(mine)
    own = replace(spec, temperature=Temperature(0, "lskd", numbers=params(tau=2)), params=params(ce=1, kd=2))
    assert "-lskd_kd-ce1-kd2-e12-" in name_of(own)


def test_a_data_set_that_has_gone() -> None:
    (spec,) = runs("direction", "kd")
    gone = replace(spec, dataset="gone", lr=1.0)
    assert name_of(gone) == gone.name
