"""Networks of timm as teacher and student: the same numbers alone, together and resumed, in both precisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from few import fast
from PIL import Image
from small_jobs import VANILLA, assert_same, outcome, stop_after, train

from sweeps.planning.plan import JobKind, job_of
from trainables.datasets import load
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.spec import Mixing, RunSpec, Temperature, params
from trainables.storage.job_file import Execution

pytest.importorskip("timm", reason="timm is not installed")

CNN = "timm:test_efficientnet"
VIT = "timm:test_vit+patch_size=4+depth=2"
DROPPING = f"{VIT}+drop_path_rate=0.5+proj_drop_rate=0.2"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "timm_test_efficientnet.pth"
    return save_weights(build(CNN, 10, 16), path), path


def execution(results: Path, weights: tuple[str, Path], **changes: object) -> Execution:
    digest, path = weights
    return replace(Execution(results, teachers=((digest, str(path)),), threads=1), **changes)  # type: ignore[arg-type]


def students(digest: str, precision: str = "fp32") -> list[RunSpec]:
    kd = replace(
        VANILLA,
        student=VIT,
        method="kd",
        params=params(ce=0.1, kd=0.9),
        teacher=CNN,
        teacher_source=f"sha256:{digest}",
        precision=precision,
    )
    return [
        kd,
        replace(kd, temperature=Temperature(4, "energy", 2, -2, 0.2)),
        replace(kd, student=DROPPING, mixing=Mixing("cutmix")),
        replace(kd, student=CNN),
    ]


@pytest.mark.medium
@pytest.mark.parametrize("precision", fast(["fp32", "bf16"], "fp32"))
def test_alone_is_packed_is_resumed(weights: tuple[str, Path], tmp_path: Path, precision: str) -> None:
    specs = students(weights[0], precision)
    for spec in specs:
        train([spec], execution(tmp_path / "alone", weights))
    train(specs, execution(tmp_path / "packed", weights, teacher_cache_gb=1.0))
    stop_after(specs, execution(tmp_path / "resumed", weights), 1)
    train(specs, execution(tmp_path / "resumed", weights, teacher_cache_gb=1.0))
    assert_same(tmp_path / "alone", tmp_path / "packed", specs)
    assert_same(tmp_path / "alone", tmp_path / "resumed", specs)
    assert {result["status"] for spec in specs for result in [outcome(tmp_path / "alone", spec)[1]]} == {"done"}


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        pytest.param(*("at", {"ce": 1, "weight": 10, "power": 2}), marks=pytest.mark.medium),
        pytest.param(*("fitnet", {"ce": 1, "weight": 1, "feature": 2}), marks=pytest.mark.medium),
        pytest.param(*("rkd", {"ce": 1, "distance": 1, "angle": 1}), marks=pytest.mark.medium),
        ("vid", {"ce": 1, "weight": 1, "variance": 5, "eps": 1e-5}),
        ("crd", {"ce": 1, "weight": 1, "dimensions": 8, "negatives": 16, "temperature": 0.1, "momentum": 0.5}),
    ],
)
def test_methods_on_features(weights: tuple[str, Path], tmp_path: Path, method: str, numbers: dict[str, float]) -> None:
    first, *_ = students(weights[0])
    spec = replace(first, method=method, params=params(**numbers), temperature=None)
    train([spec], execution(tmp_path, weights))
    assert outcome(tmp_path, spec)[1]["status"] == "done"


def test_methods_on_preactivations_are_refused_in_one_line(weights: tuple[str, Path], tmp_path: Path) -> None:
    first, *_ = students(weights[0])
    spec = replace(first, method="ofd", params=params(ce=1, weight=1), temperature=None)
    (refused, *_) = train([spec], execution(tmp_path, weights))
    assert refused.failed[spec.run_id].startswith("ofd cannot serve this pair: each network needs two preactivations")


def test_which_modules_features_come_from_changes_no_teacher() -> None:
    plain, chosen = (replace(VANILLA, student=name) for name in (CNN, f"{CNN}@blocks.1+blocks.2"))
    assert plain.run_id == chosen.run_id
    assert plain.name.startswith("digits-timm_test_efficientnet-vanilla-")
    longest = job_of(JobKind.TEACHER, [replace(plain, student=f"{CNN}+drop_rate=0.{'1' * 300}")]).key
    assert len(longest) < 200
    assert not {*longest} & set(':/@ "')


def test_a_teacher_and_a_student_of_libraries_on_own_images(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    for split, count in (("train", 12), ("val", 4)):
        for label, level in (("bright", 180), ("dark", 70)):
            (folder := tmp_path / "photos" / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = (level + 20 * torch.randn(40, 48, 3, generator=draw)).clamp(0, 255).byte().numpy()
                Image.fromarray(pixels).save(folder / f"{number}.png")
    data = load("imagefolder", tmp_path / "photos").fingerprint[:16]
    teacher = replace(VANILLA, dataset="imagefolder", data=data, train_fraction=1.0, student=f"{CNN}@blocks.2+blocks.4")
    student = replace(
        teacher,
        student="torchvision:mobilenet_v3_small",
        method="at",
        params=params(ce=1, weight=10, power=2),
        temperature=None,
        teacher=f"{CNN}@blocks.2+blocks.4",
        teacher_source=f"run:{teacher.run_id}",
    )
    own = Execution(tmp_path / "results", data_dir=tmp_path / "photos", threads=1)
    for spec in (teacher, student):
        train([spec], own)
        assert outcome(tmp_path / "results", spec)[1]["status"] == "done"
