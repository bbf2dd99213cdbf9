"""Nine Table 5 students of one pair in a pack, against the same nine as independent plain-PyTorch runs.

    python benchmarks/pack.py [--pair resnet32x4/resnet8x4] [--json]

Both sides train in this process, in turns, on the same noise images with the same (untrained) teacher: speed does not
depend on the weights, and the thresholds come from the same teacher, so the shares of mixed images are the table's.
The plain side is what people write today: a DataLoader with PIL augmentation, eager float32 in PyTorch's default memory
format, the teacher in every run, `loss.item()` in every step. A ratio is (student-steps per second of the pack) / (of
the plain runs), each turn against the plain turn beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms

from analysis.layout import cells
from analysis.paper.table5 import TABLE
from analysis.settings import Settings, parse_pair
from ekd_core import energy_thresholds
from trainables.data.dataset import Dataset, Split
from trainables.data.stream import BatchStream
from trainables.errors import UserError, exit_status
from trainables.evaluation import Scores
from trainables.models import build
from trainables.provenance import processor
from trainables.spec import RunSpec
from trainables.student import Student, initial_model
from trainables.teachers import Teacher, TeacherFacts
from trainables.views import Teaching, Views

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` images of CIFAR-100's size, with labels of all 100 classes."""
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 100


class PlainImages(torch.utils.data.Dataset):
    """The images as a torchvision data set offers them: PIL, augmented one by one."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class PlainRun:
    """One distillation run written the usual way."""

    def __init__(self, spec: RunSpec, teacher: nn.Module, images: np.ndarray, labels: np.ndarray, high: float) -> None:
        self.spec, self.teacher, self.high = spec, teacher, high
        self.student = initial_model(spec, 100).train()
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=spec.lr, momentum=0.9, weight_decay=5e-4)
        self.loader = DataLoader(PlainImages(images, labels), batch_size=spec.batch_size, shuffle=True)

    def _distill(self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        T = 4.0
        if self.spec.method == "kd":
            divergence = functional.kl_div(
                functional.log_softmax(student / T, 1), functional.softmax(teacher / T, 1), reduction="batchmean"
            )
            return 0.9 * divergence * T**2
        mask = functional.one_hot(labels, student.shape[1]).bool()
        p, q = functional.softmax(teacher / T, 1), functional.softmax(student / T, 1)
        p2 = torch.stack([p[mask], 1 - p[mask]], 1)
        q2 = torch.stack([q[mask], 1 - q[mask]], 1)
        tckd = functional.kl_div(q2.log(), p2, reduction="batchmean")
        others = functional.log_softmax(student / T - 1000 * mask, 1), functional.softmax(teacher / T - 1000 * mask, 1)
        nckd = functional.kl_div(*others, reduction="batchmean")
        beta = dict(self.spec.params)["beta"]
        return (tckd + beta * nckd) * T**2

    def steps(self, count: int) -> None:
        for images, labels in islice(self.loader, count):
            with torch.no_grad():
                teacher = self.teacher(images)
            student = self.student(images)
            weight = 0.1 if self.spec.method == "kd" else 1.0
            loss = weight * functional.cross_entropy(student, labels) + self._distill(student, teacher, labels)
            if self.spec.mixing is not None:
                energy = -4 * torch.logsumexp(teacher / 4, 1)
                everything = self.spec.mixing.rate == 1
                chosen = torch.arange(len(images)) if everything else (energy > self.high).nonzero()[:, 0]
                if len(chosen) >= 2:
                    loss = loss + self._mixed(images[chosen], labels[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()

    def _mixed(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        keep = np.random.beta(1, 1)
        partner = torch.randperm(len(images))
        side = int(32 * np.sqrt(1 - keep)) // 2
        y, x = np.random.randint(32, size=2)
        rows, columns = slice(max(y - side, 0), y + side), slice(max(x - side, 0), x + side)
        images = images.clone()
        images[:, :, rows, columns] = images[partner][:, :, rows, columns]
        with torch.no_grad():
            teacher = self.teacher(images)
        return self._distill(self.student(images), teacher, labels)


class Pack:
    """The same nine students as this project trains them."""

    def __init__(self, specs: list[RunSpec], teacher: nn.Module, dataset: Dataset, energies: torch.Tensor) -> None:
        self.precision = specs[0].precision
        self.teaching = Teaching(
            Teacher(teacher, device="cpu", precision=self.precision), TeacherFacts("", energies, Scores(0, 0, 0))
        )
        self.stream = BatchStream(dataset, seed=1, batch_size=specs[0].batch_size, augmentation="crop_flip")
        with tempfile.TemporaryDirectory() as nowhere:
            self.students = [
                Student(spec, num_classes=100, device="cpu", results=Path(nowhere), started="") for spec in specs
            ]
        self.epoch = 0
        self.teacher_seconds = self.seconds = 0.0
        inner = self.teaching.teacher.logits

        def timed(images: torch.Tensor) -> torch.Tensor:
            began = time.perf_counter()
            logits = inner(images)
            self.teacher_seconds += time.perf_counter() - began
            return logits

        self.teaching.teacher.logits = timed  # type: ignore[method-assign]

    def steps(self) -> int:
        """One pass over the images; returns the student-steps done."""
        self.epoch += 1
        began = time.perf_counter()
        count = 0
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        for chunk in self.stream.epoch(self.epoch):
            views = Views(chunk, self.stream.seed, dtype, self.teaching)
            for student in self.students:
                for step in range(len(chunk.bounds) - 1):
                    student.step(views, step, self.epoch, self.teaching)
                    count += 1
        self.seconds += time.perf_counter() - began
        return count


def rate(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description="A pack of nine students against nine plain runs.")
    parser.add_argument("--pair", default="resnet32x4/resnet8x4")
    parser.add_argument("--turns", type=int, default=3, help="timed turns of each side (default 3)")
    parser.add_argument("--steps", type=int, default=4, help="steps of 64 images a turn (default 4)")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args()
    if options.turns < 1 or options.steps < 2:
        raise UserError("--turns must be at least 1 and --steps at least 2 (128 images for 100 classes)")
    if options.threads:
        torch.set_num_threads(options.threads)
    pair = parse_pair(options.pair)
    images, labels = noise(64 * options.steps)
    split = Split(torch.from_numpy(images), torch.from_numpy(labels).long())
    dataset = Dataset(
        "noise", tuple(str(k) for k in range(100)), split, split, mean=MEAN, std=STD, fingerprint="", source=""
    )
    torch.manual_seed(0)
    teacher = build(pair.teacher, 100).eval().requires_grad_(False)
    plain_images = DataLoader(PlainImages(images, labels), batch_size=64)
    with torch.no_grad():
        logits = torch.cat([teacher(batch) for batch, _ in plain_images])
    energies = (-4 * torch.logsumexp(logits / 4, 1)).sort().values

    def specs(precision: str) -> list[RunSpec]:
        settings = Settings(pairs=(options.pair,), seeds=1, precision=precision)
        return [cell.specs[0] for cell in cells(TABLE, settings)]

    plain = [
        PlainRun(
            spec,
            teacher,
            images,
            labels,
            float(energy_thresholds(energies, 0, spec.mixing.rate)[1]) if spec.mixing else 0.0,
        )
        for spec in specs("fp32")
    ]
    plain_steps = max(1, options.steps // 2)

    def plain_turn() -> int:
        for run in plain:
            run.steps(plain_steps)
        return len(plain) * plain_steps

    packs = {precision: Pack(specs(precision), teacher, dataset, energies) for precision in ("fp32", "bf16")}
    for run in plain:
        run.steps(1)
    for pack in packs.values():
        pack.steps()
        pack.seconds = pack.teacher_seconds = 0.0
    ratios: dict[str, list[float]] = {precision: [] for precision in packs}
    plain_rates, rates = [], {precision: [] for precision in packs}
    for _ in range(options.turns):
        plain_rates.append(rate(plain_turn))
        for precision, pack in packs.items():
            rates[precision].append(rate(pack.steps))
            ratios[precision].append(rates[precision][-1] / plain_rates[-1])
    report = {
        "pair": options.pair,
        "students": len(plain),
        "device": processor(),
        "threads": torch.get_num_threads(),
        "turns": options.turns,
        "plain_student_steps_per_second": statistics.median(plain_rates),
        **{precision: statistics.median(values) for precision, values in ratios.items()},
        **{f"{precision}_min_max": [min(values), max(values)] for precision, values in ratios.items()},
        **{f"{name}_student_steps_per_second": statistics.median(values) for name, values in rates.items()},
        **{f"{name}_teacher_share": pack.teacher_seconds / pack.seconds for name, pack in packs.items()},
    }
    if options.json:
        print(json.dumps(report))
        return 0
    print(
        f"{options.pair}, {len(plain)} students of Table 5, batch 64, {report['device']}, {report['threads']} threads"
    )
    print(f"plain runs         {report['plain_student_steps_per_second']:7.2f} student-steps/s")
    for name in packs:
        low, high = min(ratios[name]), max(ratios[name])
        print(
            f"pack, {name}         {statistics.median(rates[name]):7.2f} student-steps/s   "
            f"{statistics.median(ratios[name]):.2f}x ({low:.2f} to {high:.2f}, n = {options.turns}); "
            f"teacher {100 * packs[name].teacher_seconds / packs[name].seconds:.0f} % of the time"
        )
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main, debug=False))
