"""Students of Table 5 as this project trains them, against the same students as independent plain-PyTorch runs.

    python benchmarks/pack.py                     nine students of one pair in a pack
    python benchmarks/pack.py --rows kd           one KD student alone
    [--pair resnet32x4/resnet8x4] [--device cuda] [--turns 3] [--steps 8] [--json]

All sides train in this process, in turns, on the same noise images with the same (untrained) teacher: speed does not
depend on the weights, and the thresholds come from the same teacher, so the shares of mixed images are the table's.
`live`: the teacher answers in every step. `cache`: its answers on unmixed images are read from a filled cache;
`graphs`: and the steps are replayed as CUDA graphs; `beside`: those of each student on a stream of its own. A ratio is
(student-steps a second) / (student-steps a second of the plain runs in the same turn). `peak` is the rate of the
students' and the teacher's floating-point operations over that of a large matrix product in the same precision here.
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import nn

from analysis.paper.table5 import TABLE
from analysis.record.settings import Settings, parse_pair
from analysis.table.resolved import resolve
from benchmarks.measure import (
    DTYPES,
    compare,
    count_flops,
    make_parser,
    measure_peaks,
    prepare_device,
    show,
    synchronize,
    take_turns,
)
from benchmarks.plain import MEAN, STD, PlainRun
from ekd_core import energy, energy_thresholds
from sweeps.request.arguments import whole
from trainables.commands import command_name, count, run_command
from trainables.data.dataset import Dataset, Split
from trainables.errors import UserError
from trainables.job import train_epoch
from trainables.models import build
from trainables.spec import RunSpec
from trainables.training.cpu_memory import LITTLE, keep_freed_memory
from trainables.training.cuda_graphs import WARM_UP, record_cuda_graphs
from trainables.training.cuda_streams import CudaStreams
from trainables.training.evaluation import Scores
from trainables.training.student import Student
from trainables.training.teacher_cache import open_teacher_cache
from trainables.training.teachers import Teacher, TeacherFacts
from trainables.training.views import TeacherContext


@dataclass(frozen=True)
class Scene:
    """What all sides share. specs: the students, in float32."""

    specs: tuple[RunSpec, ...]
    teacher: nn.Module
    dataset: Dataset
    energies: torch.Tensor
    device: str

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return len(self.dataset.train) // self.specs[0].batch_size


def make_scene(pair_name: str, rows: Sequence[str], steps: int, device: str) -> Scene:
    pair = parse_pair(pair_name)
    settings = Settings(pairs=(pair_name,), seeds=1)
    resolved = resolve(TABLE, replace(settings, rows=tuple(rows)))
    found = [specs[0] for specs in resolved.cells.values()]
    if not found:
        raise UserError(f"Table 5 has no rows {' '.join(rows)}: {command_name('run')} --list shows its rows")
    draw = np.random.default_rng(0)
    count = 64 * steps
    images = torch.from_numpy(draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
    split = Split(images, torch.arange(count) % 100)
    classes = tuple(str(k) for k in range(100))
    dataset = Dataset("noise", classes, split, split, mean=MEAN, std=STD, fingerprint="", source="")
    torch.manual_seed(0)
    teacher = build(pair.teacher, 100).eval().requires_grad_(False).to(device)
    specs, dataset = tuple(found), dataset.to(device)
    stream = dataset.stream(seed=specs[0].seed, batch_size=64, augmentation=specs[0].augmentation)
    with torch.no_grad():
        energies = energy(torch.cat([teacher(batch) for batch in stream.each_once(64)]))
    return Scene(specs, teacher, dataset, energies, device)


def make_plain_runs(scene: Scene) -> list[PlainRun]:
    images, labels = scene.dataset.train.images.cpu().numpy(), scene.dataset.train.labels.cpu().numpy()
    runs = []
    for spec in scene.specs:
        high = float(energy_thresholds(scene.energies, 0, spec.mixing.rate)[1]) if spec.mixing else 0.0
        runs.append(PlainRun(spec, scene.teacher, images, labels, high=high, device=scene.device))
    return runs


class TimedTeacher(Teacher):
    """A teacher that counts the seconds it answers."""

    seconds = 0.0

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        synchronize(self.device.type)
        began = time.perf_counter()
        logits = super().logits(images)
        synchronize(self.device.type)
        self.seconds += time.perf_counter() - began
        return logits


class Pack:
    """The scene's students as this project trains them, with a cache in `results` or with a live teacher."""

    def __init__(
        self,
        scene: Scene,
        precision: str,
        results: Path | None,
        stack: contextlib.ExitStack,
        *,
        epochs: int,
        graphs: bool = False,
        beside: bool = False,
    ) -> None:
        self.specs = [replace(spec, precision=precision, epochs=10**4) for spec in scene.specs]
        first = self.specs[0]
        self.teacher = TimedTeacher(build_copy(scene, first), device=scene.device, precision=precision)
        self.context = TeacherContext(self.teacher, TeacherFacts("", Scores(0, 0, 0), {"view": scene.energies}))
        self.stream = scene.dataset.stream(
            seed=first.seed, batch_size=first.batch_size, augmentation=first.augmentation
        )
        if results is not None:
            spec, notes = replace(first, epochs=epochs), list[str]()
            cache = open_teacher_cache(spec, scene.dataset, self.stream, self.teacher, "", results, math.inf, notes)
            self.context.cache = stack.enter_context(cache)
            if self.context.cache is None:
                raise UserError(f"no room for a cache in {results} {' '.join(notes)}: fewer --turns or --steps")
        nowhere = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.students = [
            Student(
                spec,
                dataset=scene.dataset,
                context=self.context,
                results=nowhere,
                started="",
                capture=record_cuda_graphs() if graphs else None,
            )
            for spec in self.specs
        ]
        self.cuda_streams = CudaStreams() if beside else None
        self.epoch, self.graphs = 0, graphs
        self.seconds = 0.0

    def fill(self, epochs: int) -> float:
        """Images a second at which the cache of so many epochs is filled."""
        assert self.context.cache is not None
        began = time.perf_counter()
        for epoch in range(1, epochs + 1):
            self.context.cache.load(epoch)
        return epochs * len(self.stream.labels) / (time.perf_counter() - began)

    def steps(self) -> int:
        """One pass over the images; returns the student-steps done."""
        self.epoch += 1
        began = time.perf_counter()
        train_epoch(self.epoch, self.students, self.stream, self.context, self.cuda_streams)
        self.seconds += time.perf_counter() - began
        return len(self.students) * self.stream.steps


def build_copy(scene: Scene, spec: RunSpec) -> Any:
    """The teacher once more, for it is folded and cast in place."""
    copy = build(str(spec.teacher), 100)
    copy.load_state_dict(scene.teacher.state_dict())
    return copy


@contextlib.contextmanager
def use_torch_defaults(device: str) -> Iterator[None]:
    """Without what makes our numbers the same every time, with the convolutions that torch chooses by itself, and with
    little freed memory kept."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = False, True
    if device == "cpu":
        keep_freed_memory(LITTLE)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
        if device == "cpu":
            keep_freed_memory()


@contextlib.contextmanager
def make_packs(scene: Scene, turns: int) -> Iterator[dict[str, Pack]]:
    with contextlib.ExitStack() as stack:
        found = {}
        for precision in DTYPES:
            results = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            found[f"live {precision}"] = Pack(scene, precision, None, stack, epochs=turns + 2)
            found[f"cache {precision}"] = Pack(scene, precision, results, stack, epochs=turns + 2)
            if scene.device == "cuda":
                for name, beside in (("graphs", False), ("beside", True)):
                    found[f"{name} {precision}"] = Pack(
                        scene, precision, results, stack, epochs=turns + 2, graphs=True, beside=beside
                    )
        yield found


def count_operations(sides: Mapping[str, Pack]) -> dict[str, float]:
    """Floating-point operations of one student-step of each pack, the teacher's included."""
    found: dict[str, float] = {}
    for name, pack in sides.items():
        # Once before they are counted: a cache's first answers are compared with the teacher's, and steps are recorded
        # after some that are not.
        pack.steps()
        if pack.graphs:
            # Replayed operations cannot be counted. They are those with the same cache.
            pack.steps()
            found[name] = found[f"cache {name.split()[-1]}"]
        else:
            found[name] = count_flops(pack.steps) / pack.stream.steps / len(pack.students)
    return found


def measure(scene: Scene, turns: int) -> dict[str, Any]:
    plain = make_plain_runs(scene)
    plain_steps = max(1, scene.steps // 2)

    def plain_turn() -> int:
        with use_torch_defaults(scene.device):
            for run in plain:
                run.steps(plain_steps)
        return len(plain) * plain_steps

    with make_packs(scene, turns) as sides:
        fills = {name: pack.fill(turns + 2) for name, pack in sides.items() if name.startswith("cache")}
        work = count_operations(sides)
        for run in plain:
            run.steps(1)
        for pack in sides.values():
            pack.seconds = pack.teacher.seconds = 0.0
        rates = take_turns(
            {"plain": plain_turn, **{name: pack.steps for name, pack in sides.items()}}, turns, scene.device
        )
        best = measure_peaks(scene.device)
        return {
            "rates": rates,
            "ratios": compare(rates, "plain"),
            "teacher": {name: pack.teacher.seconds / pack.seconds for name, pack in sides.items()},
            "peak": {name: rates[name].median * work[name] / best[name.split()[1]] for name in sides},
            "fill": fills,
            "peaks": best,
        }


def main(argv: Sequence[str]) -> int:
    parser = make_parser("Students of Table 5 against plain PyTorch runs.", turns=3, on_device=True)
    parser.add_argument("--pair", default="resnet32x4/resnet8x4")
    parser.add_argument("--rows", nargs="+", default=[], metavar="KEY", help="of Table 5 (default: all nine)")
    # Two steps are 128 images, for 100 classes.
    parser.add_argument("--steps", type=whole(2), help="steps of 64 images a turn (default 8; on a GPU 200)")
    options = parser.parse_args(argv)
    steps = options.steps or (8 if options.device == "cpu" else 200)
    if options.device == "cuda" and steps <= WARM_UP:
        raise UserError(f"--steps must be above {WARM_UP} on a GPU, where steps are recorded after so many")
    about = prepare_device(options)
    scene = make_scene(options.pair, options.rows, steps, options.device)
    found = measure(scene, options.turns)
    many, best = count(len(scene.specs), "student"), found["peaks"]
    lines = [
        f"{options.pair}, {many} of Table 5, batch 64, {about['device']}, {about['threads']} threads",
        f"peaks here: fp32 {best['fp32'] / 1e9:,.0f} and bf16 {best['bf16'] / 1e9:,.0f} GFLOP/s, copy "
        f"{best['copy'] / 1e9:,.1f} GB/s",
        f"plain       {found['rates']['plain']:.2f} student-steps/s",
    ]
    for name, ratio in found["ratios"].items():
        lines.append(
            f"{name}   {found['rates'][name].median:6.2f} student-steps/s  {ratio:.2f}x  "
            f"teacher {100 * found['teacher'][name]:.0f} % of the time, {100 * found['peak'][name]:.0f} % of peak"
        )
    lines += [f"{name} filled at {rate:,.0f} images/s" for name, rate in found["fill"].items()]
    return show(options, about | {"pair": options.pair, "students": len(scene.specs)} | found, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
