"""One step of several students on the same batch, in the ways that a device may do it.

    python benchmarks/together.py [--student resnet8x4] [--students 9] [--device cuda] [--turns 5] [--compile]
        [--json]

`loop`: one after the other. `threads`: each in a thread of its own, on the processor with its share of the threads.
`vmap`: one forward and backward pass of all, their weights stacked. With --compile also `compiled`: the loop, each
network through torch.compile. A ratio is (student-steps a second) / (those of the loop in the same turn). (CUDA graphs
and streams: pack.py.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from benchmarks.measure import DTYPES, compare, make_parser, prepare_device, show, take_turns
from sweeps.request.arguments import whole
from trainables.commands import run_command
from trainables.models import build
from trainables.training.evaluation import autocast

BATCH, CLASSES, RATE = 64, 100, 0.01


class Students:
    """Networks with momentum SGD, and a batch of noise."""

    def __init__(self, name: str, count: int, device: str, precision: str) -> None:
        self.precision, self.device = precision, device
        self.images = torch.randn(BATCH, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(BATCH, device=device) % CLASSES
        self.networks = [
            build(name, CLASSES).to(device).to(memory_format=torch.channels_last).train() for _ in range(count)
        ]
        self.optimizers = [_sgd(list(network.parameters())) for network in self.networks]

    def step(self, number: int) -> None:
        network, optimizer = self.networks[number], self.optimizers[number]
        optimizer.zero_grad(set_to_none=False)
        with autocast(self.device, self.precision):
            logits = network(self.images)
        cross_entropy(logits.float(), self.labels).backward()
        optimizer.step()

    def loop(self) -> None:
        for number in range(len(self.networks)):
            self.step(number)


def _sgd(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=5e-4, fused=True)


def use_threads(students: Students) -> Callable[[], None]:
    """A thread for each student, as many at once as torch has threads."""

    pool = ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,))

    def work() -> None:
        list(pool.map(students.step, range(len(students.networks))))

    return work


def stack(students: Students) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """All students as one network whose weights have one dimension more; and these weights."""
    weights, buffers = stack_module_state([deepcopy(network) for network in students.networks])  # type: ignore[arg-type]
    weights = {name: weight.detach() for name, weight in weights.items()}
    optimizer = _sgd(list(weights.values()))
    shape = deepcopy(students.networks[0]).to("meta")

    dtype = DTYPES[students.precision]
    images = students.images.to(dtype)
    buffers = {name: buffer.to(dtype) if buffer.is_floating_point() else buffer for name, buffer in buffers.items()}

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        # Under autocast, vmap has no batch normalisation: all is cast here.
        cast = {name: weight.to(dtype) for name, weight in weights.items()}
        logits = functional_call(shape, (cast, buffers), (images,))
        return cross_entropy(logits.float(), students.labels)

    gradients = vmap(grad_and_value(loss), randomness="error")

    def work() -> None:
        found, _ = gradients(weights, buffers)
        for name, weight in weights.items():
            weight.grad = found[name]
        optimizer.step()

    return work, weights


def compile_each(students: Students) -> Callable[[], None]:
    for network in students.networks:
        network.compile(dynamic=False)
    return students.loop


def measure(name: str, count: int, device: str, turns: int, repeats: int, *, compiles: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for precision in DTYPES:
        some = partial(Students, name, count, device, precision)
        sides = {"loop": some().loop, "threads": use_threads(some()), "vmap": stack(some())[0]}
        sides |= {"compiled": compile_each(some())} if compiles else {}

        def turn(work: Callable[[], None]) -> int:
            for _ in range(repeats):
                work()
            return repeats * count

        for work in sides.values():
            work()
        rates = take_turns({side: lambda work=work: turn(work) for side, work in sides.items()}, turns, device)
        found[precision] = {"rates": rates, "ratios": compare(rates, "loop")}
    return found


def main(argv: Sequence[str]) -> int:
    parser = make_parser("A step of several students: loop, threads, vmap.", turns=5, on_device=True)
    parser.add_argument("--student", default="resnet8x4")
    parser.add_argument("--students", type=whole(1), default=9)
    parser.add_argument("--steps", type=whole(1), default=1, help="steps of all students a turn (default 1)")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    options = parser.parse_args(argv)
    about = prepare_device(options)
    found = measure(
        options.student, options.students, options.device, options.turns, options.steps, compiles=options.compile
    )
    lines = [f"{options.students} x {options.student}, batch {BATCH}, {about['device']}, {about['threads']} threads"]
    for precision, each in found.items():
        lines.append(f"{'loop ' + precision:18} {each['rates']['loop']:.2f} student-steps/s")
        for side, ratio in each["ratios"].items():
            rate = each["rates"][side].median
            lines.append(f"{side + ' ' + precision:18} {rate:.2f} student-steps/s, the loop's x {ratio:.2f}")
    return show(options, about | {"student": options.student, "students": options.students} | found, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
