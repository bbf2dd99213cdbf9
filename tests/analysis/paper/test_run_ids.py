"""Run ids that ledgers hold: what the code makes of the same question must stay the same run."""

from __future__ import annotations

import pytest
from made_up import cells, vanilla_runs

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.resolved import resolve

CIFAR = Settings()
SHORT = Settings(epochs=24)
DIGITS = Settings(dataset="digits")
OWN = Settings(dataset="imagefolder", data="0" * 64)


@pytest.mark.parametrize(
    ("asked", "table", "row", "pair", "first", "run_id"),
    [
        (CIFAR, "table5", "kd", "vgg13/vgg8", "2ebe40c13ba47c6e", "2ebe40c13ba47c6e"),
        (CIFAR, "table5", "dkd_he_da", "resnet56/resnet20", "98cf0a1af7a1dcfb", "73086694393077ec"),
        (CIFAR, "table4", "gradation", "vgg13/MobileNetV2", "e27effef3c200a0e", "431f172dcde111c4"),
        (CIFAR, "table4", "energy_kd", "resnet32x4/ShuffleV2", "836dd899a2657ad0", "e29d838c0be1176f"),
        (CIFAR, "methods", "energy_dkd", "vgg13/MobileNetV2", "17afcef477a4f847", "697ee4d0d48dc0a9"),
        (CIFAR, "methods", "energy_kd_reversed", "resnet56/resnet20", "c70fc0838ee78470", "86d55b6a3aefdb57"),
        (CIFAR, "table13", "kd_he_mixup_30", "wrn_40_2/wrn_16_2", "a6c9069487ef8473", "473c70177695b5fe"),
        (CIFAR, "figure3", "kd_half_da_10", "wrn_40_2/wrn_16_2", "804f84bd74337cb6", "ccd2739a3b16e456"),
        (CIFAR, "table7", "kd_cutmix", "resnet32x4/resnet8x4", "0a01f8b7c8e0ea41", "0a01f8b7c8e0ea41"),
        (SHORT, "methods", "energy_dkd", "resnet32x4/ShuffleV2", "45b6e1fbe2b9ed6b", "387f07a2ab6b8fea"),
        (DIGITS, "table5", "kd_he_da_40", "resnet20/resnet8", "77d54c303af27797", "069e4dee80957177"),
        (DIGITS, "methods", "energy_dkd", "wrn_16_1/resnet8", "321da01dbabbfd2e", "29dec8d0f8f688e1"),
        (OWN, "table5", "dkd", "vgg13/vgg8", "74f6a71d1653a970", "74f6a71d1653a970"),
    ],
)
def test_a_students_run_id(asked: Settings, table: str, row: str, pair: str, first: str, run_id: str) -> None:
    """Now, and in ledgers of the first revision."""
    made = [cell.specs[0] for cell in cells(paper.find(table), asked) if (cell.row, cell.pair.key) == (row, pair)]
    assert {spec.run_id for spec in made} == {run_id}
    assert {spec.as_of(1).run_id for spec in made} == {first}


def test_the_run_ids_of_a_teacher_and_of_a_student_alone() -> None:
    assert "eb062e41c81dec37" in {spec.run_id for spec in resolve(paper.find("table5"), CIFAR).teachers}
    assert "af50eaa2ae8136c7" in {spec.run_id for spec in vanilla_runs(paper.find("table5"), DIGITS)}
