"""Jobs whose methods ask for what others do not: a teacher in training mode, other images, two labels, a remark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_jobs import DKD, STEPS, GivenTeacher, assert_same, outcome, stop_after, students, train
from torch import Tensor

from trainables.data.stream import Share
from trainables.errors import UserError
from trainables.methods import Batch, check_method, find, make, whole_batches
from trainables.methods.ofd import OFD
from trainables.models import Outputs, build
from trainables.models.checkpoint import load_state
from trainables.spec import RunSpec, params


def ofd(teacher: GivenTeacher, **changes: int) -> RunSpec:
    return replace(teacher.spec(), method="ofd", params=params(ce=1, weight=0.001), temperature=None, **changes)


@pytest.mark.medium
def test_ofd_leaves_the_others_of_its_pack_their_teacher(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Energy KD beside it has the bits that it has alone; OFD those that it has alone and stopped."""
    run, other = ofd(teacher), students(teacher)["energy_kd"]
    train([run, other], teacher.execution(tmp_path / "pack"))
    assert_same(alone, tmp_path / "pack", [other])
    execution = teacher.execution(tmp_path / "stopped")
    stop_after([run], execution, 1)
    train([run], execution)
    assert_same(tmp_path / "pack", execution.results, [run])


def test_ofd_sees_a_teacher_in_training_mode(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a network in training mode says of the step's own batch."""
    model, loss, agree = build("resnet8", 10).train(), OFD.loss, []
    model.load_state_dict(load_state(teacher.path))

    def watched(self: OFD, student: Outputs, batch: Batch) -> Tensor:
        with torch.no_grad():
            expected = model.forward_features(batch.images).preactivations
        maps = zip(batch.teacher_outputs.preactivations, expected, strict=True)
        agree.append(all(torch.allclose(*pair, rtol=1e-3, atol=1e-3) for pair in maps))
        return loss(self, student, batch)

    monkeypatch.setattr(OFD, "loss", watched)
    train([ofd(teacher, epochs=1)], teacher.execution(tmp_path))
    assert agree == [True] * STEPS


def test_devices_cannot_share_a_batch_of_ofd(teacher: GivenTeacher) -> None:
    run = ofd(teacher)
    assert whole_batches(run)
    with pytest.raises(UserError, match="ofd needs whole batches, which devices cannot share: --gpus-per-job 1"):
        check_method(make(run.method, run.params), run, Share(0, 2))


@pytest.mark.medium
def test_a_run_of_another_normalisation_is_trained_on_it(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Its teacher is asked about its images too, and what is known of that is kept apart."""
    usual = students(teacher)["energy_kd"]
    other = replace(usual, normalisation="imagenet")
    execution = teacher.execution(tmp_path)
    train([other], execution)
    train([usual], execution)
    assert_same(alone, tmp_path, [usual])
    one, two = (outcome(tmp_path, spec)[1] for spec in (usual, other))
    assert one["weights_sha256"] != two["weights_sha256"]
    for name in ("scores", "view"):
        assert len(list((tmp_path / "teachers").glob(f"*-{name}-*.pt"))) == 2
    with pytest.raises(UserError, match="must share"):
        train([usual, other], execution)


def test_dkd_with_both_labels_is_another_run(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    usual = students(teacher)["half_mixup_dkd"]
    assert usual.mixing is not None
    both = replace(usual, mixing=replace(usual.mixing, target="both"))
    train([both, usual], teacher.execution(tmp_path))
    assert_same(alone, tmp_path, [usual])
    assert outcome(tmp_path, both)[1]["weights_sha256"] != outcome(tmp_path, usual)[1]["weights_sha256"]


def test_what_a_method_has_to_say_of_a_data_set_is_said_once(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = make("dkd", DKD).remark(2)
    assert said == "dkd with two classes: its second term (beta) is 0, since there is one class beside the target"
    assert make("dkd", DKD).remark(3) is None
    monkeypatch.setattr(find("dkd"), "remark", lambda self, num_classes: said if num_classes == 10 else None)
    runs = [teacher.spec("dkd", student=student) for student in ("resnet8", "wrn_16_1")]
    reports = train([*runs, teacher.spec()], teacher.execution(tmp_path))
    assert [note for report in reports for note in report.notes] == [said]
