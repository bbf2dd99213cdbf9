"""Jobs that go wrong: students that diverge, missing teachers, locks, bad job files."""

from __future__ import annotations

import fcntl
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_jobs import (
    VANILLA,
    GivenTeacher,
    assert_same,
    one_line,
    outcome,
    students,
    train,
)

from trainables import job
from trainables.commands import run_command
from trainables.errors import UserError
from trainables.job import check_precision, run
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.run_names import name_of
from trainables.spec import params
from trainables.storage.job_file import Execution, job_json, read_job
from trainables.storage.runs import read_result, run_dir
from trainables.storage.stopping import ask_to_stop, confirm_stop


@pytest.mark.medium
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_student_that_diverges_is_dropped(when: str, teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    every = students(teacher)
    good = [every["kd"], every["he_cutmix"]]
    wild = teacher.spec(lr=1e30) if when == "at once" else teacher.spec(lr_decay=1e30)
    reports = train([good[0], wild, good[1]], teacher.execution(tmp_path))
    assert_same(alone, tmp_path, good)

    (epoch,) = (report.epoch for report in reports if report.failed)
    assert epoch == (1 if when == "at once" else 2)
    (failed,) = (report.failed for report in reports if report.failed)
    assert set(failed) == {wild.run_id}
    assert "diverged" in failed[wild.run_id]
    assert "\n" not in failed[wild.run_id]
    assert [wild.run_id in report.metrics for report in reports] == [n + 1 < epoch for n in range(3)]

    result = read_result(tmp_path, wild.run_id)
    assert result is not None
    assert result["status"] == "failed"
    assert result["reason"] == failed[wild.run_id]
    assert result["weights_sha256"] is None
    assert len(result["curve"]) == epoch - 1
    assert (result["best_top1"] is None) == (when == "at once")
    assert {file.name for file in run_dir(tmp_path, wild.run_id).iterdir()} == {"spec.json", "lock", "result.json"}


def test_a_job_whose_students_all_diverge_ends(teacher: GivenTeacher, tmp_path: Path) -> None:
    wild = teacher.spec(lr=1e30, epochs=300)
    reports = train([wild], teacher.execution(tmp_path))
    assert len(reports) == 1
    assert set(reports[0].failed) == {wild.run_id}


def test_a_failed_run_fails_again_when_it_is_asked_for_again(teacher: GivenTeacher, tmp_path: Path) -> None:
    wild = teacher.spec(lr=1e30)
    first, second = (train([wild], teacher.execution(tmp_path))[-1].failed for _ in range(2))
    assert first == second != {}


def test_teacher_that_changed(teacher: GivenTeacher, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    save_weights(build("resnet8", 10), path)
    execution = teacher.execution(tmp_path, teachers=((teacher.digest, str(path)),))
    with pytest.raises(UserError) as error:
        train([teacher.spec()], execution)
    assert "has changed" in one_line(error)
    assert str(path) in one_line(error)


def test_teacher_of_another_kind(teacher: GivenTeacher, tmp_path: Path) -> None:
    spec = replace(teacher.spec(), teacher="wrn_16_1")
    with pytest.raises(UserError) as error:
        train([spec], teacher.execution(tmp_path))
    assert "does not fit wrn_16_1" in one_line(error)


@pytest.mark.parametrize("missing", ["not given", "no file", "not trained"])
def test_missing_teacher(missing: str, teacher: GivenTeacher, tmp_path: Path) -> None:
    spec, execution = teacher.spec(), teacher.execution(tmp_path)
    if missing == "not given":
        execution = replace(execution, teachers=())
    if missing == "no file":
        execution = replace(execution, teachers=((teacher.digest, str(tmp_path / "nowhere.pth")),))
    if missing == "not trained":
        spec = replace(spec, teacher_source=f"run:{VANILLA.run_id}")
    with pytest.raises(UserError) as error:
        train([spec], execution)
    assert {"not given": "--teachers", "no file": "nowhere.pth", "not trained": "not trained yet"}[missing] in one_line(
        error
    )


def test_teacher_trained_here(tmp_path: Path) -> None:
    execution = Execution(tmp_path, threads=1)
    train([VANILLA], execution)
    teacher_result = read_result(tmp_path, VANILLA.run_id)
    assert teacher_result is not None
    spec = replace(
        VANILLA,
        epochs=1,
        method="kd",
        params=params(ce=0.1, kd=0.9),
        teacher="resnet8",
        teacher_source=f"run:{VANILLA.run_id}",
    )
    train([spec], execution)
    _, result = outcome(tmp_path, spec)
    assert result["teacher_sha256"] == teacher_result["weights_sha256"]
    assert result["teacher_top1"] == pytest.approx(teacher_result["last_top1"], abs=0.2)
    assert result["teacher_top5"] == pytest.approx(teacher_result["last_top5"], abs=0.2)


def test_runs_of_different_streams_do_not_share_a_job(teacher: GivenTeacher, tmp_path: Path) -> None:
    for other in ({"seed": 2}, {"batch_size": 64}, {"precision": "bf16"}, {"train_fraction": 0.2}, {"timing": True}):
        with pytest.raises(UserError, match="must share"):
            train([teacher.spec(), teacher.spec(**other)], teacher.execution(tmp_path))
    with pytest.raises(UserError, match="must share"):
        train([teacher.spec(), VANILLA], teacher.execution(tmp_path))


def test_a_run_named_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        train([VANILLA, replace(VANILLA)], Execution(tmp_path, threads=1))


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        train([], Execution(tmp_path))


def test_cuda_where_there_is_none(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UserError, match="--gpus 0"):
        train([VANILLA], Execution(tmp_path, device="cuda"))


# --- locks ---------------------------------------------------------------------------------------------------------


def test_a_run_under_way_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "LOCK_SECONDS", 0.2)
    going = run([VANILLA], Execution(tmp_path, threads=1))
    next(going)
    with pytest.raises(UserError) as error:
        train([VANILLA], Execution(tmp_path, threads=1))
    assert "held by another process" in one_line(error)
    assert VANILLA.run_id in one_line(error)
    going.close()  # type: ignore[attr-defined]
    assert train([VANILLA], Execution(tmp_path, threads=1))[-1].finished == (VANILLA.run_id,)


def test_a_dying_predecessor_is_waited_for(tmp_path: Path) -> None:
    folder = run_dir(tmp_path, VANILLA.run_id)
    folder.mkdir(parents=True)
    with open(folder / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(0.5, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        timer.start()
        reports = train([replace(VANILLA)], Execution(tmp_path, threads=1))
        timer.join()
    assert reports[-1].finished == (VANILLA.run_id,)


# --- the command ---------------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    return run_command(job.main, arguments)


def test_job_file(teacher: GivenTeacher, tmp_path: Path) -> None:
    specs = list(students(teacher).values())
    for execution in (
        teacher.execution(tmp_path, command="x"),
        Execution(tmp_path),
        Execution(tmp_path, data_dir=tmp_path / "data"),
    ):
        (tmp_path / "JOB.json").write_text(job_json(specs, execution))
        assert read_job(tmp_path / "JOB.json") == (specs, execution)


def test_a_job_by_hand_forgets_old_wishes_to_stop_and_tells_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "JOB.json").write_text(job_json([VANILLA], Execution(tmp_path, threads=1)))
    run_dir(tmp_path, VANILLA.run_id).mkdir(parents=True)
    confirm_stop(tmp_path, VANILLA.run_id)
    ask_to_stop(tmp_path, VANILLA.run_id)
    assert command(str(tmp_path / "JOB.json")) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["epoch", "epoch", "done"]

    other = replace(VANILLA, seed=2)
    (tmp_path / "JOB.json").write_text(job_json([other], Execution(tmp_path, threads=1)))
    with monkeypatch.context() as patch:
        patch.setattr(job, "is_asked_to_stop", lambda *_: True)
        assert command(str(tmp_path / "JOB.json")) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["epoch", "stopped"]


def test_command(teacher: GivenTeacher, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, wild = teacher.spec(epochs=2), teacher.spec(lr=1e30, epochs=2)
    (tmp_path / "JOB.json").write_text(job_json([good], teacher.execution(tmp_path)))
    assert command(str(tmp_path / "JOB.json")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "epoch", "done"]
    assert all(name_of(good) in line for line in lines)
    (tmp_path / "JOB.json").write_text(job_json([good, wild], teacher.execution(tmp_path)))
    assert command(str(tmp_path / "JOB.json"), "--debug") == 1
    printed = capsys.readouterr()
    assert f"failed  {name_of(wild)}: diverged" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"runs": []}',
        '{"runs": [], "execution": {}}',
        '{"runs": 3, "execution": {"results": "r"}}',
        '{"runs": [{"dataset": "digits"}], "execution": {"results": "r"}}',
        '{"runs": [], "execution": {"results": "r"}}',
        '{"runs": [], "execution": {"results": "r", "colour": 1}}',
        '{"runs": [], "execution": {"results": "r", "teacher_cache_gb": 1%s}}' % (400 * "0"),
        None,
    ],
)
def test_bad_job_files(text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if text is not None:
        (tmp_path / "JOB.json").write_text(text)
    assert command(str(tmp_path / "JOB.json")) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_command_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 2
    assert "the following arguments are required: JOB.json (see ekd job --help)" in capsys.readouterr().err


def test_results_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the folder should be: nobody can write there, not even root."""
    (tmp_path / "file").write_text("")
    (tmp_path / "JOB.json").write_text(job_json([VANILLA], Execution(tmp_path / "file" / "results")))
    assert command(str(tmp_path / "JOB.json")) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("precision", "capability", "refused"), [("bf16", 7, True), ("bf16", 8, False), ("fp32", 7, False)]
)
def test_a_gpu_without_bfloat16_is_told_at_once(
    precision: str, capability: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (capability, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    execution = Execution(tmp_path, device="cuda")
    if not refused:
        check_precision(precision, execution)
        return
    with pytest.raises(UserError, match="Tesla T4 does not compute in bfloat16: use --precision fp32"):
        check_precision(precision, execution)
    monkeypatch.setattr(job, "prepare_torch", lambda execution: None)
    with pytest.raises(UserError, match="use --precision fp32"):
        train([replace(VANILLA, precision=precision)], execution)


def test_a_cache_of_whole_gigabytes(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(
        job_json([VANILLA], Execution(tmp_path, teacher_cache_gb=2.0)).replace(
            '"teacher_cache_gb": 2.0', '"teacher_cache_gb": 2'
        )
    )
    assert read_job(file)[1].teacher_cache_gb == 2.0


@pytest.mark.parametrize(
    ("said", "instead", "message"),
    [
        ('"threads": 0', '"threads": 100000', "its threads are 100000, not 0 to 1024"),
        ('"threads": 0', '"threads": -1', "its threads are -1"),
        ('"device": "cpu"', '"device": "tpu"', "its device is 'tpu', neither cpu nor cuda"),
        ('"results": "', '"results": "\\u0000', "is no path"),
        ('"results": "', '"results": "\\ud800', "UnicodeEncodeError: .* surrogates not allowed"),
        ('"runs": ', '"epochs": 3, "runs": ', "a job has nothing called epochs"),
        ('"threads": 0', '"gpus": 0', "a job has nothing called gpus"),
    ],
)
def test_a_job_for_no_such_machine(said: str, instead: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(job_json([VANILLA], Execution(tmp_path)).replace(said, instead))
    with pytest.raises(UserError, match=message) as error:
        read_job(file)
    assert "\n" not in str(error.value)
