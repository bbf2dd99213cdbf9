"""Jobs: the same weights alone, packed and resumed; failures, locks, results. Tiny networks on a few digits."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import job, student
from trainables.data import load
from trainables.data.facts import facts
from trainables.data.stream import normalise
from trainables.errors import UserError
from trainables.job import EpochReport, Place, job_json, read_job, run
from trainables.models import build
from trainables.models.checkpoint import load_state, load_weights, save_weights, sha256
from trainables.runs import checkpoint_path, read_result, run_dir, weights_path
from trainables.spec import Mixing, RunSpec, Temperature, from_dict, params
from trainables.student import Student
from trainables.teachers import Teacher

ROOT = Path(__file__).parents[2]
VANILLA = RunSpec(
    dataset="digits",
    student="resnet8",
    seed=1,
    epochs=2,
    milestones=(1,),
    lr=0.05,
    batch_size=6,
    augmentation="crop",
    train_fraction=0.05,
)
IMAGES = facts("digits", None, VANILLA.train_fraction).train_size
STEPS = math.ceil(IMAGES / VANILLA.batch_size)
DKD = params(ce=1, alpha=1, beta=2, warmup=2)


@pytest.fixture(scope="module", autouse=True)
def torch_settings() -> Iterator[None]:
    """A job sets them for its process; other tests get theirs back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@dataclass(frozen=True)
class GivenTeacher:
    path: Path
    digest: str

    def place(self, results: Path, **changes: Any) -> Place:
        return Place(**{"results": results, "teachers": ((self.digest, str(self.path)),), "threads": 1} | changes)

    def spec(self, method: str = "kd", **changes: Any) -> RunSpec:
        numbers = {"kd": params(ce=0.1, kd=0.9), "dkd": DKD}[method]
        source = f"sha256:{self.digest}"
        return replace(VANILLA, method=method, params=numbers, teacher="resnet8", teacher_source=source, **changes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> GivenTeacher:
    """Not a good one, but one with opinions: energies that differ from image to image."""
    torch.manual_seed(5)
    network = build("resnet8", 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.5)
    path = tmp_path_factory.mktemp("teacher") / "resnet8.pth"
    return GivenTeacher(path, save_weights(network, path))


def students(teacher: GivenTeacher) -> dict[str, RunSpec]:
    """Nine students of one teacher: every method, rule, operation and selection, two networks, three lengths."""
    gradation = Temperature(4, "gradation", values=(6, 5, 3, 2))
    return {
        "kd": teacher.spec(),
        "energy_kd": teacher.spec(temperature=Temperature(4, "energy", 2, -2, 0.2)),
        "gradation": teacher.spec(temperature=gradation, epochs=1),
        "dkd": teacher.spec("dkd", student="wrn_16_1"),
        "reversed_dkd": teacher.spec("dkd", temperature=Temperature(4, "reversed", 2, -2, 0.3)),
        "cutmix": teacher.spec(mixing=Mixing("cutmix")),
        "he_cutmix": teacher.spec(mixing=Mixing("cutmix", "high", 0.4), epochs=3, milestones=(1, 2)),
        "half_mixup_dkd": teacher.spec("dkd", mixing=Mixing("mixup", "half", 0.6, alpha=0.2)),
        "low_energy": teacher.spec(
            temperature=Temperature(4, "low", 2, 0, 0.2), mixing=Mixing("cutmix", "low", 0.5), weight_decay=0.0
        ),
    }


def train(specs: Sequence[RunSpec], place: Place) -> list[EpochReport]:
    return list(run(specs, place))


def outcome(results: Path, spec: RunSpec) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights, and the result without what says where and how fast."""
    result = read_result(results, spec.run_id)
    assert result is not None
    machine = ("seconds", "epoch_seconds", "provenance")
    return load_state(weights_path(results, spec.run_id)), {k: v for k, v in result.items() if k not in machine}


def assert_same(one: Path, two: Path, specs: Sequence[RunSpec]) -> None:
    for spec in specs:
        (a, left), (b, right) = outcome(one, spec), outcome(two, spec)
        assert a.keys() == b.keys()
        different = [key for key in a if not torch.equal(a[key], b[key])]
        assert not different, f"{spec.name}: {len(different)} of {len(a)} tensors differ"
        assert left == right


@contextmanager
def stopped(specs: Sequence[RunSpec], place: Place, epoch: int) -> Iterator[list[EpochReport]]:
    """A job that is stopped when it has reported `epoch`."""
    reports, going = [], run(specs, place)
    for report in going:
        reports.append(report)
        if report.epoch == epoch:
            break
    going.close()  # type: ignore[attr-defined]
    yield reports


@pytest.fixture(scope="module")
def alone(teacher: GivenTeacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each of the nine students trained alone and undisturbed."""
    results = tmp_path_factory.mktemp("alone")
    for spec in students(teacher).values():
        train([spec], teacher.place(results))
    return results


# --- alone, packed, resumed ----------------------------------------------------------------------------------------


def test_students_differ(teacher: GivenTeacher, alone: Path) -> None:
    """Nine treatments, nine different sets of weights: what follows compares something."""
    digests = {outcome(alone, spec)[1]["weights_sha256"] for spec in students(teacher).values()}
    assert len(digests) == 9


def test_alone_and_packed(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    specs = students(teacher)
    torch.manual_seed(12345)
    reports = train(list(specs.values()), teacher.place(tmp_path))
    assert_same(alone, tmp_path, list(specs.values()))

    ids = {name: spec.run_id for name, spec in specs.items()}
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert {report.epochs for report in reports} == {3}
    assert [len(report.metrics) for report in reports] == [9, 8, 1]
    assert [set(report.finished) for report in reports] == [
        {ids["gradation"]},
        set(ids.values()) - {ids["gradation"], ids["he_cutmix"]},
        {ids["he_cutmix"]},
    ]
    assert not any(report.failed for report in reports)
    for report in reports:
        for run_id, numbers in report.metrics.items():
            result = read_result(tmp_path, run_id)
            assert result is not None
            names = ("train_loss", "top1", "top5", "test_loss")
            assert [report.epoch, *(numbers[name] for name in names)] == result["curve"][report.epoch - 1]
            assert numbers["seconds"] == result["epoch_seconds"][report.epoch - 1] > 0


def test_resumed_in_packs_of_other_students(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Stopped three times; each time others are in the pack, at other epochs, in another order."""
    specs, place = list(students(teacher).values()), teacher.place(tmp_path)
    for part, epoch in ((specs[:3], 1), (specs[1:7], 1), ([specs[6], specs[0]], 2)):
        with stopped(part, place, epoch):
            pass
    train(specs[::-1], place)
    assert_same(alone, tmp_path, specs)


def test_resuming_begins_where_each_run_was_left(teacher: GivenTeacher, tmp_path: Path) -> None:
    every = students(teacher)
    ahead, behind, place = every["he_cutmix"], every["kd"], teacher.place(tmp_path)
    with stopped([ahead], place, 2):
        pass
    with stopped([behind], place, 1):
        pass
    reports = train([behind, ahead], place)
    assert [(report.epoch, set(report.metrics)) for report in reports] == [(2, {behind.run_id}), (3, {ahead.run_id})]


class DeathError(Exception):
    """Stands for the process dying at this place."""


def crash_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """The `call`-th call of a function (from 1) dies, before or after it has done its work."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise DeathError
        answer = original(*arguments, **named)
        if calls == call:
            raise DeathError
        return answer

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        (Student, "step", 3 * STEPS + 5, False),
        (Student, "_save", 1, True),
        (Student, "_save", 2, False),
        (student, "write_atomically", 5, False),
        (Student, "finish", 1, False),
        (Student, "finish", 2, False),
        (student, "save_weights", 1, True),
        (student, "write_result", 2, True),
        (student, "write_result", 3, False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_dying_at_a_given_place(
    owner: Any,
    name: str,
    call: int,
    after: bool,
    teacher: GivenTeacher,
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a step, between two students' checkpoints, before or after weights and results are written."""
    every = students(teacher)
    specs, place = [every[name] for name in ("gradation", "kd", "half_mixup_dkd")], teacher.place(tmp_path)
    with monkeypatch.context() as patch:
        crash_at(patch, owner, name, call, after=after)
        with pytest.raises(DeathError):
            train(specs, place)
    train(specs, place)
    assert_same(alone, tmp_path, specs)
    for spec in specs:
        files = {file.name for file in run_dir(tmp_path, spec.run_id).iterdir()}
        assert files - {"checkpoint.pt"} == {"spec.json", "lock", "weights.pt", "result.json"}


def test_bfloat16(teacher: GivenTeacher, tmp_path: Path) -> None:
    every = students(teacher)
    specs = [replace(every[name], precision="bf16") for name in ("energy_kd", "he_cutmix", "reversed_dkd")]
    for spec in specs:
        train([spec], teacher.place(tmp_path / "alone"))
    train(specs, teacher.place(tmp_path / "packed"))
    assert_same(tmp_path / "alone", tmp_path / "packed", specs)
    with stopped(specs[1:], teacher.place(tmp_path / "resumed"), 1):
        pass
    train(specs, teacher.place(tmp_path / "resumed"))
    assert_same(tmp_path / "alone", tmp_path / "resumed", specs)
    for spec in specs:
        weights, result = outcome(tmp_path / "alone", spec)
        assert all(value.dtype == torch.float32 for value in weights.values() if value.is_floating_point())
        assert result["train_loss"] > 0


def test_vanilla_students_pack_too(tmp_path: Path) -> None:
    specs = [VANILLA, replace(VANILLA, student="wrn_16_1"), replace(VANILLA, lr=0.01, epochs=1)]
    for spec in specs:
        train([spec], Place(tmp_path / "alone", threads=1))
    train(specs, Place(tmp_path / "packed", threads=1))
    assert_same(tmp_path / "alone", tmp_path / "packed", specs)


def test_seeds_differ(tmp_path: Path) -> None:
    weights = []
    for seed in (1, 2):
        spec = replace(VANILLA, seed=seed, epochs=1)
        train([spec], Place(tmp_path, threads=1))
        weights.append(outcome(tmp_path, spec)[0])
    assert all(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0] if key.endswith("conv1.weight"))


def kill_until_done(place: Place, specs: Sequence[RunSpec], moments: Sequence[float], folder: Path) -> int:
    """`python trainables/job.py`, killed so many seconds after its first line at every start but the last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "JOB.json").write_text(job_json(specs, place))
    command = [sys.executable, str(ROOT / "trainables" / "job.py"), str(folder / "JOB.json")]
    kills = 0
    for moment in (*moments, None):
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            if moment is not None:
                threading.Event().wait(moment)
                process.send_signal(signal.SIGKILL)
            said, complained = process.stdout.read(), process.stderr.read()
            process.wait()
        if process.returncode == -signal.SIGKILL:
            kills += 1
            continue
        assert process.returncode == 0, complained
        assert "done" in first + said
    return kills


def test_sigkill(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    every = students(teacher)
    specs = [every[name] for name in ("he_cutmix", "reversed_dkd", "gradation")]
    moments = [random.Random(0).uniform(0, 0.8)]
    assert kill_until_done(teacher.place(tmp_path / "results"), specs, moments, tmp_path) >= 1
    assert_same(alone, tmp_path / "results", specs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_sigkill_again_and_again(seed: int, teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    draw = random.Random(seed)
    specs = list(students(teacher).values())
    moments = [draw.uniform(0, 2.5) for _ in range(5)]
    assert kill_until_done(teacher.place(tmp_path / "results"), specs, moments, tmp_path) >= 1
    assert_same(alone, tmp_path / "results", specs)


# --- checkpoints ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "garbage", "of another run"])
def test_damaged_checkpoint(
    damage: str, teacher: GivenTeacher, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run starts again from its first epoch, says so, and ends as ever; its neighbour goes on."""
    every = students(teacher)
    kd, other, place = every["kd"], every["he_cutmix"], teacher.place(tmp_path)
    with stopped([other], place, 2):
        pass
    with stopped([kd], place, 1):
        pass
    file = checkpoint_path(tmp_path, kd.run_id)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "empty": b"",
            "truncated": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "garbage": b"garbage" * 100,
            "of another run": checkpoint_path(tmp_path, other.run_id).read_bytes(),
        }[damage]
    )
    reports = train([kd, other], place)
    assert [set(report.metrics) for report in reports] == [{kd.run_id}, {kd.run_id}, {other.run_id}]
    assert_same(alone, tmp_path, [kd, other])
    assert kd.name in capsys.readouterr().out


def test_a_complete_run_is_not_trained_again(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Not even where its teacher is gone, and a run that is not complete trains on beside it."""
    kd, energy, *_ = students(teacher).values()
    train([kd], teacher.place(tmp_path))
    before = weights_path(tmp_path, kd.run_id).stat().st_mtime_ns
    (report,) = run([kd], Place(tmp_path, threads=1))
    assert report == EpochReport(0, 2, {}, (kd.run_id,), {})
    reports = train([energy, kd], teacher.place(tmp_path))
    assert reports[0].finished == (kd.run_id,)
    assert [set(report.metrics) for report in reports[1:]] == [{energy.run_id}] * 2
    assert weights_path(tmp_path, kd.run_id).stat().st_mtime_ns == before
    assert_same(alone, tmp_path, [kd, energy])


# --- against plain PyTorch -----------------------------------------------------------------------------------------


def plain_kd(logits: Tensor, answers: Tensor, temperature: Tensor) -> Tensor:
    column = temperature[:, None]
    each = nn.functional.kl_div(
        torch.log_softmax(logits / column, 1), torch.softmax(answers / column, 1), reduction="none"
    )
    return (each.sum(1) * temperature**2).mean()


def plain_loop(spec: RunSpec, teacher: GivenTeacher) -> tuple[nn.Module, list[float]]:
    """The run as one would write it by hand: contiguous images, plain SGD, an unfolded teacher asked for each batch."""
    from trainables.data.stream import BatchStream
    from trainables.evaluation import Scores
    from trainables.teachers import TeacherFacts
    from trainables.views import Teaching, Views

    dataset = load("digits", None, train_fraction=spec.train_fraction)
    guide = build("resnet8", 10).eval()
    load_weights(guide, teacher.path, "resnet8")

    def energy(answers: Tensor) -> Tensor:
        return -4 * torch.logsumexp(answers / 4, 1)

    with torch.no_grad():
        ordered = energy(guide(normalise(dataset.train.images, dataset.mean, dataset.std))).sort().values
    rate, rule = spec.temperature.rate, spec.temperature
    low, high = ordered[int(IMAGES * rate)], ordered[-(int(IMAGES * rate) + 1)]

    def temperature(answers: Tensor) -> Tensor:
        here = torch.full((len(answers),), rule.base)
        if rule.rule == "energy":
            here[energy(answers) < low] += rule.plus
            here[energy(answers) > high] += rule.minus
        return here

    model = student.initial_model(spec, 10).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, foreach=False
    )
    stream = BatchStream(dataset, seed=spec.seed, batch_size=spec.batch_size, augmentation=spec.augmentation)
    mixer = Teaching(Teacher(guide, device="cpu", precision="fp32"), TeacherFacts("", ordered, Scores(0, 0, 0)))
    losses = []
    for epoch in range(1, spec.epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = spec.lr * math.prod(spec.lr_decay for milestone in spec.milestones if epoch >= milestone + 1)
        total = 0.0
        for chunk in stream.epoch(epoch):
            views = Views(chunk, spec.seed, torch.float32, mixer)
            for step in range(len(chunk.bounds) - 1):
                rows = slice(chunk.bounds[step], chunk.bounds[step + 1])
                images, labels = chunk.images[rows].contiguous(), chunk.labels[rows]
                logits = model(images)
                loss = nn.functional.cross_entropy(logits, labels)
                if spec.method == "kd":
                    with torch.no_grad():
                        answers = guide(images)
                    loss = 0.1 * loss + 0.9 * plain_kd(logits, answers, temperature(answers))
                if spec.mixing is not None:
                    mixed = views.mixed(spec.mixing)
                    images = mixed.images[slice(*mixed.bounds[step])].contiguous()
                    if len(images):
                        with torch.no_grad():
                            answers = guide(images)
                        loss = loss + 0.9 * plain_kd(model(images), answers, temperature(answers))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(labels)
        losses.append(total / IMAGES)
    return model, losses


@pytest.mark.parametrize("kind", ["vanilla", "kd", "energy", "he_cutmix"])
def test_equals_a_plain_loop(kind: str, teacher: GivenTeacher, tmp_path: Path) -> None:
    """Same batches, same initial weights; only the order of additions differs (memory format, folded teacher)."""
    spec = {
        "vanilla": VANILLA,
        "kd": teacher.spec(),
        "energy": teacher.spec(temperature=Temperature(4, "energy", 2, -2, 0.2)),
        "he_cutmix": teacher.spec(mixing=Mixing("cutmix", "high", 0.5)),
    }[kind]
    spec = replace(spec, epochs=3, milestones=(1, 2), lr=0.02, batch_size=32)
    model, losses = plain_loop(spec, teacher)
    train([spec], teacher.place(tmp_path))
    weights, result = outcome(tmp_path, spec)
    assert [row[1] for row in result["curve"]] == pytest.approx(losses, rel=1e-4)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            weights[key], value, rtol=1e-3, atol=1e-3, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_learning_rate_falls_after_each_milestone(tmp_path: Path) -> None:
    """Epochs count from 1: with milestones 150, 180, 210 epoch 151 is the first with the lower rate."""
    spec = replace(VANILLA, epochs=240, milestones=(150, 180, 210))
    made = Student(spec, num_classes=10, device="cpu", results=tmp_path, started="")
    rates = {}
    for epoch in range(1, 241):
        made.begin_epoch(epoch)
        (rates[epoch],) = (group["lr"] for group in made.optimizer.param_groups)
    expected = {1: 0.05, 150: 0.05, 151: 5e-3, 180: 5e-3, 181: 5e-4, 210: 5e-4, 211: 5e-5, 240: 5e-5}
    assert {epoch: rates[epoch] for epoch in expected} == pytest.approx(expected, rel=1e-12)
    assert list(rates.values()) == sorted(rates.values(), reverse=True)


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_student_that_diverges_is_dropped(when: str, teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    every = students(teacher)
    good = [every["kd"], every["he_cutmix"]]
    wild = teacher.spec(lr=1e30) if when == "at once" else teacher.spec(lr_decay=1e30)
    reports = train([good[0], wild, good[1]], teacher.place(tmp_path))
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
    reports = train([wild], teacher.place(tmp_path))
    assert len(reports) == 1
    assert set(reports[0].failed) == {wild.run_id}


def test_a_failed_run_fails_again_when_it_is_asked_for_again(teacher: GivenTeacher, tmp_path: Path) -> None:
    wild = teacher.spec(lr=1e30)
    first, second = (train([wild], teacher.place(tmp_path))[-1].failed for _ in range(2))
    assert first == second != {}


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


def test_teacher_that_changed(teacher: GivenTeacher, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    save_weights(build("resnet8", 10), path)
    place = teacher.place(tmp_path, teachers=((teacher.digest, str(path)),))
    with pytest.raises(UserError) as error:
        train([teacher.spec()], place)
    assert "has changed" in one_line(error)
    assert str(path) in one_line(error)


def test_teacher_of_another_kind(teacher: GivenTeacher, tmp_path: Path) -> None:
    spec = replace(teacher.spec(), teacher="wrn_16_1")
    with pytest.raises(UserError) as error:
        train([spec], teacher.place(tmp_path))
    assert "does not fit wrn_16_1" in one_line(error)


@pytest.mark.parametrize("missing", ["not given", "no file", "not trained"])
def test_missing_teacher(missing: str, teacher: GivenTeacher, tmp_path: Path) -> None:
    spec, place = teacher.spec(), teacher.place(tmp_path)
    if missing == "not given":
        place = replace(place, teachers=())
    if missing == "no file":
        place = replace(place, teachers=((teacher.digest, str(tmp_path / "nowhere.pth")),))
    if missing == "not trained":
        spec = replace(spec, teacher_source=f"run:{VANILLA.run_id}")
    with pytest.raises(UserError) as error:
        train([spec], place)
    assert {"not given": "--teachers", "no file": "nowhere.pth", "not trained": "not trained yet"}[missing] in one_line(
        error
    )


def test_teacher_trained_here(tmp_path: Path) -> None:
    place = Place(tmp_path, threads=1)
    train([VANILLA], place)
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
    train([spec], place)
    _, result = outcome(tmp_path, spec)
    assert result["teacher_sha256"] == teacher_result["weights_sha256"]
    assert result["teacher_top1"] == pytest.approx(teacher_result["last_top1"], abs=0.2)
    assert result["teacher_top5"] == pytest.approx(teacher_result["last_top5"], abs=0.2)


def test_runs_of_different_streams_do_not_share_a_job(teacher: GivenTeacher, tmp_path: Path) -> None:
    for other in ({"seed": 2}, {"batch_size": 64}, {"precision": "bf16"}, {"train_fraction": 0.2}, {"timing": True}):
        with pytest.raises(UserError, match="must share"):
            train([teacher.spec(), teacher.spec(**other)], teacher.place(tmp_path))
    with pytest.raises(UserError, match="must share"):
        train([teacher.spec(), VANILLA], teacher.place(tmp_path))


def test_a_run_named_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        train([VANILLA, replace(VANILLA)], Place(tmp_path, threads=1))


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        train([], Place(tmp_path))


def test_cuda_where_there_is_none(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UserError, match="--gpus 0"):
        train([VANILLA], Place(tmp_path, device="cuda"))


# --- locks ---------------------------------------------------------------------------------------------------------


def test_a_run_under_way_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "LOCK_SECONDS", 0.2)
    going = run([VANILLA], Place(tmp_path, threads=1))
    next(going)
    with pytest.raises(UserError) as error:
        train([VANILLA], Place(tmp_path, threads=1))
    assert "held by another process" in one_line(error)
    assert VANILLA.run_id in one_line(error)
    going.close()  # type: ignore[attr-defined]
    assert train([VANILLA], Place(tmp_path, threads=1))[-1].finished == (VANILLA.run_id,)


def test_a_dying_predecessor_is_waited_for(tmp_path: Path) -> None:
    folder = run_dir(tmp_path, VANILLA.run_id)
    folder.mkdir(parents=True)
    with open(folder / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(0.5, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        timer.start()
        reports = train([replace(VANILLA)], Place(tmp_path, threads=1))
        timer.join()
    assert reports[-1].finished == (VANILLA.run_id,)


# --- views that are shared, and those that are not ------------------------------------------------------------------


@pytest.mark.parametrize(("timing", "asked"), [(False, 1), (True, 3)])
def test_timing_runs_share_nothing(
    timing: bool, asked: int, teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three students of one teacher: it sees every image once an epoch, or for timing once a student."""
    specs = [teacher.spec(timing=timing, epochs=2, lr=lr) for lr in (0.05, 0.02, 0.01)]
    train(specs[:1], teacher.place(tmp_path / "alone"))
    with stopped(specs, teacher.place(tmp_path / "packed"), 1):
        pass
    seen, original = [], Teacher.logits

    def counting(self: Teacher, images: Tensor) -> Tensor:
        seen.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Teacher, "logits", counting)
    train(specs, teacher.place(tmp_path / "packed"))
    assert sum(seen) == asked * IMAGES
    assert_same(tmp_path / "alone", tmp_path / "packed", specs[:1])


def test_seconds_are_shared_out(teacher: GivenTeacher, tmp_path: Path) -> None:
    """Packed students split the time between them; timing runs are each charged their own."""
    specs = [teacher.spec(epochs=1), teacher.spec(epochs=1, lr=0.01)]
    (report,) = run(specs, teacher.place(tmp_path))
    one, two = (numbers["seconds"] for numbers in report.metrics.values())
    assert one == pytest.approx(two, rel=0.05)
    timed = [replace(spec, timing=True) for spec in specs]
    timed[1] = replace(timed[1], student="wrn_16_2")
    (report,) = run(timed, teacher.place(tmp_path))
    assert report.metrics[timed[1].run_id]["seconds"] > 1.3 * report.metrics[timed[0].run_id]["seconds"]


# --- results -------------------------------------------------------------------------------------------------------

NUMBERS = {
    "best_top1",
    "best_top5",
    "best_epoch",
    "last_top1",
    "last_top5",
    "last_loss",
    "train_loss",
    "epochs",
    "seconds",
    "parameters",
    "teacher_top1",
    "teacher_top5",
}
FIELDS = NUMBERS | {
    "schema",
    "run_id",
    "name",
    "spec",
    "status",
    "reason",
    "epoch_seconds",
    "weights_sha256",
    "teacher_sha256",
    "curve",
    "provenance",
}
PROVENANCE = {
    "commit",
    "dirty",
    "command",
    "python",
    "torch",
    "device",
    "driver",
    "threads",
    "pack",
    "started",
    "ended",
}


def test_result(teacher: GivenTeacher, tmp_path: Path) -> None:
    spec = students(teacher)["he_cutmix"]
    train([spec, teacher.spec()], teacher.place(tmp_path, command="sweep table5"))
    result = json.loads((run_dir(tmp_path, spec.run_id) / "result.json").read_text())
    assert set(result) == FIELDS
    assert result["schema"] == 1
    assert from_dict(result["spec"]) == spec
    assert from_dict(result["spec"]).run_id == result["run_id"] == spec.run_id
    assert (result["name"], result["status"], result["reason"]) == (spec.name, "done", None)
    assert all(isinstance(result[name], int | float) for name in NUMBERS)

    curve = result["curve"]
    assert [row[0] for row in curve] == [1, 2, 3]
    assert result["epochs"] == 3 == len(result["epoch_seconds"])
    best = max(curve, key=lambda row: row[2])
    assert (result["best_epoch"], result["best_top1"]) == (best[0], best[2])
    assert result["best_top5"] == max(row[3] for row in curve)
    assert [result[k] for k in ("train_loss", "last_top1", "last_top5", "last_loss")] == curve[-1][1:]
    assert all(0 <= row[2] <= row[3] <= 100 for row in curve)
    assert result["seconds"] == pytest.approx(sum(result["epoch_seconds"]))

    model = build("resnet8", 10)
    digest = load_weights(model, weights_path(tmp_path, spec.run_id), "resnet8")
    assert result["weights_sha256"] == digest == sha256(weights_path(tmp_path, spec.run_id))
    assert result["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert result["teacher_sha256"] == hashlib.sha256(teacher.path.read_bytes()).hexdigest()

    guide = build("resnet8", 10)
    load_weights(guide, teacher.path, "resnet8")
    for network, names in ((model, ("last_top1", "last_top5")), (guide, ("teacher_top1", "teacher_top5"))):
        dataset = load("digits", None)
        with torch.no_grad():
            logits = network.eval()(normalise(dataset.test.images, dataset.mean, dataset.std))
        ranks = (logits > logits.gather(1, dataset.test.labels[:, None])).sum(1)
        assert [result[name] for name in names] == pytest.approx(
            [100 * (ranks < k).double().mean().item() for k in (1, 5)], abs=0.2
        )

    provenance = result["provenance"]
    assert set(provenance) == PROVENANCE
    assert provenance["command"] == "sweep table5"
    assert (provenance["threads"], provenance["pack"], provenance["torch"]) == (1, 1, torch.__version__)
    assert datetime.fromisoformat(provenance["started"]) <= datetime.fromisoformat(provenance["ended"])
    assert datetime.fromisoformat(provenance["started"]).utcoffset() is not None


def test_result_of_a_student_alone(tmp_path: Path) -> None:
    train([VANILLA], Place(tmp_path, threads=1))
    _, result = outcome(tmp_path, VANILLA)
    assert (result["teacher_sha256"], result["teacher_top1"], result["teacher_top5"]) == (None, None, None)
    assert set(result) | {"seconds", "epoch_seconds", "provenance"} == FIELDS
    spec = json.loads((run_dir(tmp_path, VANILLA.run_id) / "spec.json").read_text())
    assert from_dict(spec) == VANILLA


def test_time_spent_before_a_stop_counts(teacher: GivenTeacher, tmp_path: Path) -> None:
    place = teacher.place(tmp_path)
    with stopped([teacher.spec()], place, 1) as reports:
        spent = [report.metrics[teacher.spec().run_id]["seconds"] for report in reports]
        started = datetime.now().astimezone()
    train([teacher.spec()], place)
    result = read_result(tmp_path, teacher.spec().run_id)
    assert result is not None
    assert result["epoch_seconds"][:1] == spent
    assert datetime.fromisoformat(result["provenance"]["started"]) <= started


# --- the command ---------------------------------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["job.py", *arguments])
    return job.exit_status(job.main, debug="--debug" in arguments)


def test_job_file(teacher: GivenTeacher, tmp_path: Path) -> None:
    specs = list(students(teacher).values())
    for place in (teacher.place(tmp_path, command="x"), Place(tmp_path), Place(tmp_path, data_dir=tmp_path / "data")):
        (tmp_path / "JOB.json").write_text(job_json(specs, place))
        assert read_job(tmp_path / "JOB.json") == (specs, place)


def test_command(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, wild = teacher.spec(epochs=2), teacher.spec(lr=1e30, epochs=2)
    (tmp_path / "JOB.json").write_text(job_json([good], teacher.place(tmp_path)))
    assert command(monkeypatch, str(tmp_path / "JOB.json")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "epoch", "done"]
    assert all(good.name in line for line in lines)
    (tmp_path / "JOB.json").write_text(job_json([good, wild], teacher.place(tmp_path)))
    assert command(monkeypatch, str(tmp_path / "JOB.json"), "--debug") == 1
    printed = capsys.readouterr()
    assert f"failed  {wild.name}: diverged" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"runs": []}',
        '{"runs": [], "place": {}}',
        '{"runs": 3, "place": {"results": "r"}}',
        '{"runs": [{"dataset": "digits"}], "place": {"results": "r"}}',
        '{"runs": [], "place": {"results": "r"}}',
        '{"runs": [], "place": {"results": "r", "colour": 1}}',
        None,
    ],
)
def test_bad_job_files(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "JOB.json").write_text(text)
    assert command(monkeypatch, str(tmp_path / "JOB.json")) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_command_without_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch) == 2
    assert "usage" in capsys.readouterr().err


def test_results_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the folder should be: nobody can write there, not even root."""
    (tmp_path / "file").write_text("")
    (tmp_path / "JOB.json").write_text(job_json([VANILLA], Place(tmp_path / "file" / "results")))
    assert command(monkeypatch, str(tmp_path / "JOB.json")) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
