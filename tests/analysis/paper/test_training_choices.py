"""How whole runs are trained where their sources differ from the usual: peers, mixed labels, teachers, images."""

from __future__ import annotations

from dataclasses import replace

from made_up import cells

from analysis import paper
from analysis.record.settings import Settings, deviations
from analysis.record.specs import assistant_spec, student_spec, teacher_spec
from trainables.baselines import dml
from trainables.recipes import CIFAR100, TINYIMAGENET, VANILLA, VGG_13_8, Pair, Treatment, cutmix, dkd, kd
from trainables.spec import RunSpec, from_json


def taught(treatment: Treatment, *overrides: tuple[str, str]) -> RunSpec:
    return student_spec(Settings(overrides=overrides), VGG_13_8, treatment, 1)


def mutual(student: str, *overrides: tuple[str, str]) -> RunSpec:
    pair = Pair("wrn_40_2", student)
    return student_spec(Settings(overrides=overrides), pair, dml(CIFAR100, pair), 1)


def test_a_peer_learns_at_the_rate_of_its_own_network() -> None:
    light, usual = mutual("ShuffleV1"), mutual("wrn_16_2")
    assert (light.lr, light.peer_lr) == (0.01, 0.05)
    assert (usual.lr, usual.peer_lr) == (0.05, None)
    assert mutual("ShuffleV1", ("peer_lr", "0.03")).peer_lr == 0.03
    assert mutual("ShuffleV1", ("peer_lr", "0.01")).peer_lr is None
    assert mutual("ShuffleV1", ("peer", "MobileNetV2")).peer_lr is None
    assert taught(kd(CIFAR100), ("peer_lr", "0.03")) == taught(kd(CIFAR100))


def test_a_students_rate_leaves_its_peer_alone() -> None:
    for student in ("ShuffleV1", "wrn_16_2"):
        faster = mutual(student, ("lr", "0.02"))
        assert (faster.lr, faster.peer_lr) == (0.02, 0.05)


def test_only_dkd_has_a_target_on_mixed_images() -> None:
    both, mixed = ("mixing.target", "both"), dkd(CIFAR100, VGG_13_8, cutmix(0.5))
    assert taught(mixed, both).mixing == replace(cutmix(0.5), target="both")
    assert taught(mixed, both).run_id != taught(mixed).run_id
    assert from_json(taught(mixed, both).canonical()) == taught(mixed, both)
    for treatment in (kd(CIFAR100, cutmix(0.5)), dkd(CIFAR100, VGG_13_8)):
        assert taught(treatment, both) == taught(treatment)


def test_the_teachers_of_a_long_tail_saw_the_whole_data_set_unless_asked() -> None:
    """The run that is CIFAR-100's own teacher."""
    usual, tail = Settings(dataset="cifar100_lt"), Settings(dataset="cifar100_lt", tail_teachers=True)
    for asked in (usual, replace(usual, imbalance=0.1)):
        assert teacher_spec(asked, "vgg13") == teacher_spec(Settings(), "vgg13")
    seen = teacher_spec(tail, "vgg13")
    assert (seen.dataset, seen.imbalance) == ("cifar100_lt", 0.5)
    student = student_spec(usual, VGG_13_8, kd(CIFAR100), 1)
    assert (student.dataset, student.imbalance) == ("cifar100_lt", 0.5)
    assert student.teacher_run == teacher_spec(usual, "vgg13").run_id
    assert deviations(tail, "cifar100_lt") == ["teachers trained on the long tail"]
    assert deviations(usual, "cifar100_lt") == []


def test_students_and_teachers_see_images_under_one_normalisation() -> None:
    usual, own = (Settings(dataset="tinyimagenet", overrides=o) for o in ((), (("normalisation", "own"),)))
    for asked, expected in ((usual, "imagenet"), (own, "own")):
        runs = [teacher_spec(asked, "vgg13"), assistant_spec(asked, VGG_13_8, "resnet110")]
        runs += [student_spec(asked, VGG_13_8, treatment, 1) for treatment in (VANILLA, kd(TINYIMAGENET))]
        assert {run.normalisation for run in runs} == {expected}
        assert {run.augmentation for run in runs} == {"crop8_flip"}
        assert runs[-1].teacher_run == runs[0].run_id


def test_plain_multi_differs_from_kd_in_its_loss_alone() -> None:
    table = paper.find("methods")
    rows = {cell.row: cell.specs[0] for cell in cells(table, Settings(pairs=("resnet32x4/ShuffleV2",), seeds=1))}
    kd_run, plain, released = rows["kd"], rows["multi_plain"], rows["multi"]
    assert replace(plain, method=kd_run.method, params=kd_run.params) == kd_run
    assert (released.epochs, plain.epochs) == (960, 240)
