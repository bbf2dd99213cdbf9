"""The command line before anything is trained: the request, its plan for people and as JSON, the listing."""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import SMALL, Command, contents, no_measuring, own_images, refused, settings
from fake_job import result
from made_up import cells
from PIL import Image
from plans import plan_of

from analysis import paper
from analysis.record.ledger import Ledger
from sweeps.planning import estimate
from sweeps.request.arguments import parse
from sweeps.request.request import make_request
from trainables.cores import cores_here
from trainables.datasets import load
from trainables.storage.runs import run_dir, weights_path, write_result


def test_the_plan_of_table5(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    status, out, err = command("table5", "--plan", "--json")
    assert status == 0
    assert err.startswith("measuring a few steps of 10 networks and losses to estimate the cost: up to about 60 s")
    assert err.count("\n") == 1
    found = json.loads(out)
    assert out.count("\n") == 1
    assert found["cells"] == 54
    assert found["runs"] == {"distilled": 162, "vanilla": 18, "teacher": 4}
    assert found["done"] == 0
    assert found["jobs"] >= 22
    assert found["device_hours"] > 0
    assert found["disk_bytes"] > 0
    assert not list(tmp_path.iterdir())


def test_shared_cells_count_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """KD stands in three tables; Table 4's two parts share three columns of Energy KD: 54 + 6 + 6 + 30 cells."""
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    _, out, _ = command("table5", "table4", "table13", "--plan", "--json")
    found = json.loads(out)
    assert found["cells"] == 54 + (6 + 12 - 4 - 2) + (36 - 6)
    assert found["runs"]["distilled"] == 3 * found["cells"]
    assert (
        json.loads(command("table13", "table5", "table4", "table5", "--plan", "--json")[1])["cells"] == found["cells"]
    )


def test_the_plan_for_people(command: Command, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "resnet8_best.pth").write_bytes(weights.read_bytes())
    pairs = ("--pairs", "resnet8/resnet8", "resnet20/resnet8")
    _, out, _ = command("table5", "--dataset", "digits", *pairs, "--plan", "--teachers", "teachers")
    assert "HE-DA on KD and DKD, on digits (after Table 5 of the Energy KD paper), 3 seeds" in out
    assert "teacher resnet8 is given: " in out
    assert "teacher resnet20 will be trained first" in out
    assert "18 cells in 1 table" in out
    assert "all rows: epochs 12, lr 0.05" in out
    assert "one step per epoch" not in out
    few = command("table5", "--dataset", "digits", *pairs, "--plan", "--train-fraction", "0.03")[1]
    assert "one step per epoch: 40 training images in batches of 64; a smaller --batch-size makes more" in few
    unwrapped = " ".join(out.split())
    assert re.search(r"on one device like this \(.*\); from start to end .* with \d+ jobs? at a time", unwrapped)


def test_the_plan_says_which_differences_so_many_seeds_see(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an assumed spread; by the ledger's, where its KD and DKD runs differ by 1, 2 and 3 points; not for costs."""
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    words = ("table5", "--dataset", "digits", "--pairs", "resnet8/resnet8", "--rows", "kd", "dkd", "--plan")
    assert "3 seeds see differences of 2.8 points and more" in command(*words)[1]
    request = make_request(parse(words[:-1]))
    (tmp_path / "results").mkdir()
    with Ledger.open(tmp_path / "results" / "ledger.sqlite") as ledger:
        for cell in cells(paper.find("table5"), request.settings):
            for spec in cell.specs:
                ledger.record(result(spec) | {"best_top1": 60.0 + spec.seed * (cell.row == "dkd")})
    out = " ".join(command(*words)[1].split())
    assert "3 seeds see differences of 3.3 points and more (80% power" in out
    assert "a difference of two rows varies by 1.00 points between seeds, from the ledger)" in out
    assert "seeds see" not in command("table7", "--dataset", "digits", "--plan")[1]


def test_the_plan_says_what_the_teachers_of_a_long_tail_see(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    asked = ("table8", "--rows", "kd", "--pairs", "vgg13/vgg8", "--plan")
    assert "teacher vgg13 on CIFAR-100 will be trained first" in command(*asked)[1]
    assert "teacher vgg13 will be trained first" in command(*asked, "--tail-teachers")[1]


def test_the_plan_is_shown_before_its_cost_is_measured(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []

    def measuring(specs: list, *rest: object) -> dict:
        shown.append(capsys.readouterr())
        return no_measuring(specs)

    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", measuring)
    _, out, err = command("table5", "--dataset", "digits", "--plan")
    assert "all rows: epochs 12, lr 0.05" in shown[0].out
    assert "the largest trains" in shown[0].out
    assert shown[0].err.startswith("measuring a few steps of ")
    assert out.startswith("about ")
    assert err == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_plan_of_a_machine_with_gpus(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    words = ("table3", "--plan", "--json", "--gpus-per-job", "2")
    assert "on this machine's CPU because it has no GPU" in json.loads(command(*words, "--gpus", "8")[1])["estimated"]
    assert "for it has no GPU" not in json.loads(command(*words, "--gpus", "0")[1])["estimated"]


@pytest.mark.parametrize(
    ("table", "dataset", "title"),
    [
        ("table6", "tinyimagenet", "Table 6: HE-DA on KD and DKD, on TinyImageNet"),
        ("table6", "digits", "HE-DA on KD and DKD, on digits (after Table 6 of the Energy KD paper)"),
        ("table5", "cifar100", "Table 5: HE-DA on KD and DKD, on CIFAR-100"),
        ("table1", "cifar100", "Table 1: methods on CIFAR-100, teacher and student of one kind"),
        (
            "table1",
            "digits",
            "Methods on digits, teacher and student of one kind (after Table 1 of the Energy KD paper)",
        ),
        ("table8", "cifar100_lt", "Table 8: long-tailed CIFAR-100"),
        ("table8", "digits", "Long-tailed CIFAR-100; here on digits (after Table 8 of the Energy KD paper)"),
    ],
)
def test_a_title_names_the_data_set_once(
    command: Command, monkeypatch: pytest.MonkeyPatch, table: str, dataset: str, title: str
) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    assert command(table, "--dataset", dataset, "--plan")[1].splitlines()[0] == f"{title}, 3 seeds"


def tiny_imagenet(root: Path) -> None:
    """Two classes as they are published: a test split whose classes a text file names."""
    draw, names = np.random.default_rng(0), ("n00000002", "n00000001")
    (root / "val" / "images").mkdir(parents=True)
    for number in range(8):
        picture = Image.fromarray(draw.integers(256, size=(64, 64, 3), dtype=np.uint8))
        folder = root / "train" / names[number % 2] / "images"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number}.JPEG")
        picture.rotate(90).save(root / "val" / "images" / f"val_{number}.JPEG")
    lines = [f"val_{number}.JPEG\t{names[number // 4]}\t0\t0\t62\t62\n" for number in range(8)]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(names))


def test_planning_leaves_the_images_as_they_are(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion that training makes once changes no run's identity."""
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    root = tmp_path / "data" / "tiny-imagenet-200"
    tiny_imagenet(root)
    words = ("table6", "--pairs", "resnet8/resnet8")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    status, out, _ = command(*words, "--plan")
    assert status == 0
    assert f"data: TinyImageNet in {root}; 8 training and 8 test images of 2 classes, not the published" in " ".join(
        out.split()
    )
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    requests = [make_request(parse(words))]
    load("tinyimagenet", tmp_path / "data")
    assert (root / "val_by_class").is_dir()
    requests.append(make_request(parse(words)))
    ids = [request.run_ids for request in requests]
    assert ids[0] == ids[1]


@pytest.mark.medium
def test_a_part_of_imagenet_is_told(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the plan, and by a sweep (here one that has nothing left to train)."""
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    own_images(tmp_path / "data", 1)
    words = ("table3", "--rows", "kd", "--seeds", "1", "--epochs", "1")
    told = f"data: ImageNet in {tmp_path / 'data'}: 2 of the 1,000 classes, 6 + 6 images"
    assert told in " ".join(command(*words, "--plan")[1].split())
    request = make_request(parse(words))
    (tmp_path / "results").mkdir()
    with Ledger.open(tmp_path / "results" / "ledger.sqlite") as ledger:
        for spec in plan_of(request.tables, request.settings, {}, pack=None).all_runs.values():
            ledger.record(result(spec))
    status, out, _ = command(*words)
    assert (status, out.splitlines()[1]) == (0, told)


@pytest.mark.parametrize(
    ("options", "how", "defaults"),
    [
        (
            (),
            "the centre at 32x32 pixels, normalised by their own mean",
            "at this size --recipe cifar100 and its crops",
        ),
        (
            ("--image-size", "224"),
            "random crops at 224x224 pixels, normalised by ImageNet's mean",
            "at this size --recipe imagenet and its crops",
        ),
    ],
)
def test_the_plan_says_what_is_made_of_own_images(
    options: tuple[str, ...], how: str, defaults: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    own_images(tmp_path / "mine", 1)
    words = ("table5", "--dataset", "imagefolder", "--data-dir", "mine", "--pairs", "resnet8/resnet8", "--rows", "kd")
    status, out, _ = command(*words, "--gpus", "0", "--plan", *options)
    said = " ".join(out.split())
    assert status == 0
    assert how in said
    assert defaults in said


def test_own_images_are_part_of_a_runs_identity(command: Command, tmp_path: Path) -> None:
    own_images(tmp_path / "mine", 1)
    words = ("table5", "--dataset", "imagefolder", "--data-dir", "mine", "--pairs", "resnet8/resnet8", "--rows", "kd")
    first = make_request(parse(words))
    assert first.settings.data == load("imagefolder", tmp_path / "mine").fingerprint[:16]
    assert make_request(parse(words)) == first
    own_images(tmp_path / "mine", 2)
    second = make_request(parse(words))
    assert second.settings.data != first.settings.data
    ids = [request.run_ids for request in (first, second)]
    assert not set(ids[0]) & set(ids[1])
    assert "there is nothing to --download" in refused(command, *words, "--gpus", "0", "--download")


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("temperature.values=6,5.5,5,4.5,4,4,3.5,3,2.5,2", ("temperature.values", "[6,5.5,5,4.5,4,4,3.5,3,2.5,2]")),
        ("temperature.values=[6, 5, 2]", ("temperature.values", "[6,5,2]")),
        ("temperature.rule=reversed", ("temperature.rule", '"reversed"')),
        ("milestones=100,", ("milestones", "[100]")),
        ("milestones=150", ("milestones", "[150]")),
        ("T=3", ("temperature.base", "3")),
        ("T-=-1", ("temperature.minus", "-1")),
        ("rule=reversed", ("temperature.rule", '"reversed"')),
        ("lr=1e-1", ("lr", "0.1")),
    ],
)
def test_overrides_are_stored_as_json(said: str, stored: tuple[str, str]) -> None:
    rows = ("energy_kd",) if "rule" in said else ("gradation", "energy_kd")
    request = make_request(parse(["table4", "--set", said, "--rows", *rows]))
    assert request.settings.overrides == (stored,)


def test_a_field_set_twice_has_its_last_value() -> None:
    request = make_request(parse(["table5", "--set", "lr=0.1", "weight_decay=0", "--set", "lr=0.2"]))
    assert dict(request.settings.overrides) == {"lr": "0.2", "weight_decay": "0"}


def test_a_run_that_ended_without_a_driver_is_planned_as_done(command: Command, tmp_path: Path) -> None:
    plan = plan_of([paper.find("table5")], settings(), {}, pack=None)
    for spec in plan.all_runs.values():
        run_dir(tmp_path / "results", spec.run_id).mkdir(parents=True)
        write_result(tmp_path / "results", result(spec))
    before = contents(tmp_path)
    _, out, _ = command(*SMALL, "--plan", "--json")
    found = json.loads(out)
    assert (found["done"], found["jobs"], found["device_hours"]) == (2, 0, 0)
    assert contents(tmp_path) == before


def test_failed_runs_are_told_and_only_tried_again_when_asked(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    plan = plan_of([paper.find("table5")], settings(), {}, pack=None)
    distilled = next(iter(plan.runs["distilled"]))
    (tmp_path / "results").mkdir()
    with Ledger.open(tmp_path / "results" / "ledger.sqlite") as ledger:
        for run_id, spec in plan.all_runs.items():
            ledger.record(result(spec, "diverged: the loss is nan" if run_id == distilled else None))
    status, out, _ = command(*SMALL)
    assert status == 1
    assert "1 failed earlier (--retry trains them again), nothing left to train" in out
    assert "failed: 1 run: diverged: the loss is nan" in out
    assert "1 run done, 1 failed, 0 not run" in out
    assert json.loads(command(*SMALL, "--plan", "--json")[1])["jobs"] == 0
    retried = json.loads(command(*SMALL, "--plan", "--json", "--retry")[1])
    assert retried["jobs"] == 2, "the student, and its teacher, whose weights are gone"
    for run_id in plan.runs["teacher"]:
        weights_path(tmp_path / "results", run_id).parent.mkdir(parents=True)
        weights_path(tmp_path / "results", run_id).touch()
    assert json.loads(command(*SMALL, "--plan", "--json", "--retry")[1])["jobs"] == 1


def test_a_teacher_whose_weights_are_not_those_that_were_trained_is_planned_again(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    plan = plan_of([paper.find("table5")], settings(), {}, pack=None)
    (teacher,) = plan.runs["teacher"].values()
    weights = weights_path(tmp_path / "results", teacher.run_id)
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"whole")
    digest = hashlib.sha256(b"whole").hexdigest()
    write_result(tmp_path / "results", result(teacher) | {"weights_sha256": digest})
    assert json.loads(command(*SMALL, "--plan", "--json")[1])["jobs"] == 1
    weights.write_bytes(b"other")
    assert json.loads(command(*SMALL, "--plan", "--json")[1])["jobs"] == 2


def test_the_listing(command: Command) -> None:
    status, out, _ = command("--list")
    assert status == 0
    assert "PAIRS  each runs, by all methods that can serve it" in out
    for word in ("table5", "kd_he_da_40", "resnet32x4/ShuffleV2", "ResNet50", "dkd", "imagefolder", "reversed"):
        assert word in out.split()
    assert "  lskd                Logit standardization (Sun et al., CVPR 2024)." in out
    assert "kd_he_da_40" not in command("table4", "--list")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("membership --set membership=image", "makes the rows energy_kd and energy_kd_by_image of membership the same"),
        ("methods --rows multi --set params.released=2", "multi takes released = 0 or 1, not 2"),
        ("table1 --rows dml --set peer=abc", "unknown network 'abc' in peer"),
        (
            "table5 --rows kd_he_da_20 --set mixing.rate=0.0001",
            "0.01 % of 124 training images is less than one: use more",
        ),
        ("table5 --rows kd --tail-teachers", "--tail-teachers: no run of table5 would change"),
        ("table5 --rows kd --gpus 0 --cpus-per-job 40000", "a job asks for 40000 CPUs, but there are"),
        ("table5 --rows kd --cpus-per-job 40000", "a job asks for 40000 CPUs, but there are"),
        ("table5 --rows kd --gpus 0 --gpus-per-job 40000", "--gpus-per-job 40000: the sweep has"),
    ],
)
def test_what_can_be_known_before_training_is_refused_by_the_plan(words: str, message: str, command: Command) -> None:
    status, _, err = command(*words.split(), "--dataset", "digits", "--train-fraction", "0.1", "--plan")
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("plan", [(), ("--plan",)])
def test_so_many_runs_are_counted_at_once(plan: tuple[str, ...], command: Command) -> None:
    """Before a single one is made."""
    words = ("table5", "table1", "--rows", "kd", "--pairs", "resnet8/resnet8", "--set", "lr=0.1", "--gpus", "0", *plan)
    message = refused(command, *words, "--dataset", "digits", "--seeds", "1000000")
    assert "that is up to 4,000,000 runs (1000000 seeds): more than 50,000 cannot be planned" in message


def test_a_plan_for_a_larger_machine_is_measured_with_the_cores_of_this_one(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def measuring(specs: list, _: object, device: str, threads: int, *rest: object) -> dict:
        asked.append(threads)
        return no_measuring(specs)

    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", measuring)
    status, out, _ = command(*SMALL[:-2], "--gpus", "100", "--cpus-per-job", "40000", "--plan", "--json")
    assert (status, asked) == (0, [cores_here()])
    assert f"on {cores_here()} threads" in json.loads(out)["estimated"]


def test_a_peer_may_have_the_students_rate_once_that_is_set(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    words = ("table1", "--rows", "dml", "--set", "lr=0.02", "peer_lr=0.02", "--dataset", "digits", "--plan")
    assert "0.02, of the peer 0.02" in " ".join(command(*words)[1].split())


@pytest.mark.medium
@pytest.mark.slow
def test_the_plan_of_imagenet_is_measured(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """On random images, which have no files to take random crops from."""
    monkeypatch.setattr(estimate, "estimate", partial(estimate.estimate, seconds=0))
    pair = "imagenet_resnet18/MobileNetV1"
    status, out, _ = command("table3", "--rows", "kd", "--pairs", pair, "--gpus", "0", "--batch-size", "2", "--plan")
    assert status == 0
    assert "on one device like this" in out
