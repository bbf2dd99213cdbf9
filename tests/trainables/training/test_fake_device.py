"""Jobs on a device that is not the processor (fake_device.py; no GPU is needed): nothing mixes the two, the host waits
for nothing within an epoch but what it must, and the numbers are the processor's own."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import few
import imagenet_like
import pytest
from few import some_or_all
from forked import call, run_script
from small_jobs import VANILLA, GivenTeacher, assert_same, seasoned, students
from test_methods_train import packs, specs

from trainables.methods import names
from trainables.models.checkpoint import save_weights
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution, job_json

SCRIPT = Path(__file__).parents[1] / "fake_device.py"
CHUNKS = 2
"""Of an epoch of those few digits."""


def train(device: str, jobs: Sequence[Sequence[RunSpec]], execution: Execution) -> list[Counter[str]]:
    """For what each of them waited within epochs."""
    execution.results.mkdir()
    paths = [execution.results / f"{number}.json" for number in range(len(jobs))]
    for path, job in zip(paths, jobs, strict=True):
        path.write_text(job_json(job, execution))
    done = run_script(SCRIPT, device, *paths)
    assert done.returncode == 0, done.stderr[-3000:]
    return [Counter(json.loads(line)) for line in done.stdout.splitlines()]


def waits(jobs: Sequence[Sequence[RunSpec]], execution: Execution) -> list[Counter[str]]:
    """Those of jobs on the device, which give the same bits as on the processor."""
    here, there = (replace(execution, results=execution.results / device) for device in ("cpu", "fake"))
    execution.results.mkdir(exist_ok=True)
    train("cpu", jobs, here)
    found = train("fake", jobs, there)
    assert_same(here.results, there.results, [run for job in jobs for run in job])
    return found


@pytest.mark.parametrize("chosen", some_or_all(few.METHODS, names()))
@pytest.mark.medium
def test_methods(chosen: Sequence[str], teacher: GivenTeacher, tmp_path: Path) -> None:
    """In few steps each."""
    base = replace(VANILLA, train_fraction=0.02, holdout=0.34, epochs=1, milestones=())
    jobs = packs(specs(base, f"sha256:{teacher.digest}", chosen).values())
    assert waits(jobs, teacher.execution(tmp_path)) == [Counter()] * len(jobs)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("chosen", "teacher_cache_gb"),
    [
        pytest.param(("energy_kd", "he_cutmix"), 1.0, id="some"),
        *(pytest.param(None, size, id=f"all, {size} GB", marks=pytest.mark.slow) for size in (0.0, 1.0)),
    ],
)
def test_treatments(
    chosen: Sequence[str] | None, teacher_cache_gb: float, teacher: GivenTeacher, tmp_path: Path
) -> None:
    """Which images are mixed by their energy, and how many of each batch, is asked once a chunk. A cache is filled from
    the device once an epoch."""
    named = students(teacher)
    runs = [replace(named[name], epochs=1, milestones=()) for name in chosen or named]
    runs[-1] = replace(runs[-1], epochs=2)
    asked = CHUNKS * sum(run.epochs for run in runs if run.mixing is not None and run.mixing.end)
    filled = max(run.epochs for run in runs) if teacher_cache_gb else 0
    expected = {"aten.nonzero.default": asked, "aten._to_copy.default": asked + filled}
    assert waits([runs], teacher.execution(tmp_path, teacher_cache_gb=teacher_cache_gb)) == [expected]


@pytest.mark.slow
def test_images_that_are_decoded_while_it_trains(tmp_path: Path) -> None:
    root = imagenet_like.make(tmp_path / "imagenet")
    run = replace(VANILLA, dataset="imagenet", student="MobileNetV1", augmentation="random_resized_crop_flip")
    run = replace(run, train_fraction=1.0, holdout=0.0, epochs=1, milestones=(), batch_size=8)
    assert waits([[run]], Execution(tmp_path / "results", data_dir=root, threads=1)) == [Counter()]


REFUSED, WAITS = "refused", "waits"
LINES = {
    "there + here": REFUSED,
    "torch.cat([there, here])": REFUSED,
    "torch.where(there > 0, here, 0.0)": REFUSED,
    "torch.nn.Linear(3, 3)(there)": REFUSED,
    "here.index_copy_(0, torch.arange(2, device='fake'), here)": REFUSED,
    "there + 1 + torch.tensor(1.0) + torch.ones(2, 3, device='fake')": "",
    "there + here.to('fake')": WAITS,
    "there + torch.tensor([1.0, 2.0, 3.0]).to('fake', non_blocking=True)": "",
    "there.copy_(here, non_blocking=True)": "",
    "there.copy_(here)": WAITS,
    "there + torch.tensor([1.0, 2.0, 3.0], device='fake')": WAITS,
    "there[torch.tensor([0, 1])]": WAITS,
    "there[[0, 1]]": WAITS,
    "there.sum().item()": WAITS,
    "there[there[:, 0] > 0]": WAITS,
    "there.cpu() + here": WAITS,
    "here.copy_(there)": WAITS,
    "there.tolist()": WAITS,
}
"""What a GPU refuses, what it does, and for what the host waits."""


def said(program: str) -> str:
    """What a program prints that has registered the device."""
    begin = f"import os\nos.environ['XDG_CACHE_HOME'] = {os.environ['XDG_CACHE_HOME']!r}"
    done = call(exec, f"{begin}\nfrom fake_device import FakeDevice, register\nregister()\n{program}", {})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.medium
def test_the_fake_device() -> None:
    printed = said(f"""
import torch
for line in {list(LINES)}:
    here = torch.randn(2, 3)
    with FakeDevice() as device:
        there = here.to("fake", non_blocking=True)
        try:
            eval(line)
            print("waits" if device.waits else "")
        except AssertionError as error:
            assert "on the processor, the others on the device" in str(error)
            print("refused")
""")
    assert dict(zip(LINES, printed.splitlines(), strict=True)) == LINES


@pytest.mark.medium
def test_a_plan_is_measured() -> None:
    """Of every method."""
    printed = said("""
from analysis import paper
from analysis.table.resolved import resolve
from sweeps.planning.plan import make_plan
from analysis.record.settings import Settings
from sweeps.planning import estimate, measuring
from sweeps.planning.resources import Resources
settings = Settings(dataset="digits", pairs=("resnet14/resnet8",), seeds=1)
plan = make_plan([resolve(paper.find("methods"), settings)], {}, pack=None)
measuring.STEPS["fake"] = 1
with FakeDevice():
    found = estimate.estimate(
        plan, None, Resources(0), device="fake", at_once=1, seconds=0
    )
print(found.device_hours > 0)
""")
    assert printed == "True\n"


@pytest.mark.medium
@pytest.mark.parametrize(
    ("table", "settings", "side", "batch"),
    [
        ("table5", {"dataset": "digits", "pairs": ("resnet14/resnet8",)}, 16, 8 * 64),
        (
            "table3",
            {"dataset": "imagenet", "pairs": ("imagenet_resnet34/imagenet_resnet18",), "rows": ("kd",)},
            224,
            256,
        ),
    ],
)
def test_a_plan_is_measured_at_whole_batches(table: str, settings: dict[str, object], side: int, batch: int) -> None:
    """Eight steps of small images, one of those that are decoded on the way; a few would take a GPU as long."""
    printed = said(f"""
from analysis import paper
from analysis.table.resolved import resolve
from sweeps.planning.plan import make_plan
from analysis.record.settings import Settings
from sweeps.planning import estimate, images, measuring
from sweeps.planning.resources import Resources
from trainables.data.counts import ImageCounts
images._count = lambda *fields: ImageCounts(10, {side}, (64,) * 10, 100)
plan = make_plan([resolve(paper.find({table!r}), Settings(seeds=1, **{settings!r}))], {{}}, pack=None)
measuring.STEPS["fake"] = 8
sizes = set()
measuring._per_image = lambda work_on, few, images, seconds, clock: sizes.add((few, images)) or 0.001
with FakeDevice():
    estimate.estimate(
        plan, None, Resources(0), device="fake", at_once=1, seconds=0
    )
print(sizes)
""")
    assert printed == f"{{({batch}, {batch})}}\n"


@pytest.mark.medium
def test_pictures_are_of_the_same_numbers(tmp_path: Path) -> None:
    save_weights(seasoned("resnet8"), tmp_path / "resnet8.pth")
    printed = said(f"""
from pathlib import Path
import numpy as np
import torch
# Tensors of inference mode cannot stand for others.
torch.inference_mode = torch.no_grad
from trainables.observe import Images, answers, certainty, predictions
about = "resnet8", Path({str(tmp_path / "resnet8.pth")!r}), Images("digits", train_fraction=0.2)
found = []
for device in ("cpu", "fake"):
    with FakeDevice():
        pictures = certainty(*about, count=25, device=device) | predictions(*about, rate=0.3, device=device)
        found.append(pictures | answers(*about, device=device))
here, there = found
print([name for name in here if not np.array_equal(here[name], there[name])], len(here))
""")
    assert printed.startswith("[] ")
