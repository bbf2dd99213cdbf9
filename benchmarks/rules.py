"""What the rules of the temperature cost, as shares of a student's step with plain KD.

    python benchmarks/rules.py [--student resnet8x4] [--device cuda] [--turns 5] [--steps 4] [--threads N] [--json]

Of a batch of 64 and 100 classes: the rule, the loss and the gradient by the logits, less the same of `plain`, over the
step of a student (forward, loss, backward, update), both in the same turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from benchmarks.measure import Numbers, make_parser, prepare_device, show, take_turns
from ekd_core import energy, kd_loss, rules
from ekd_core.rules import Rule, Samples
from sweeps.request.arguments import whole
from trainables.commands import run_command
from trainables.models import build
from trainables.recipes import CIFAR100, RESNET_32X4_8X4, Treatment, energy_kd, kd
from trainables.rivals import ats, ctkd, dtkd, eakd, lskd, normkd, spherical, ttm, wsld, wttm
from trainables.rules import make_rule

BATCH, CLASSES = 64, 100
RIVALS = (lskd, normkd, dtkd, ttm, wttm, spherical, ctkd, ats, eakd, wsld)
STEP = "step"


def usual_rules() -> dict[str, Rule]:
    """Every rule with its usual numbers for ResNet32x4/ResNet8x4 on CIFAR-100."""
    source, pair = CIFAR100, RESNET_32X4_8X4
    treatments: list[Treatment] = [kd(source), dtkd(source, pair, "dtkd_energy")]
    treatments += [energy_kd(source, pair, rule) for rule in ("energy", "low", "high", "reversed", "gradation")]
    treatments += [treat(source, pair) for treat in RIVALS]
    found = {each.temperature.rule: make_rule(each.temperature) for each in treatments if each.temperature}
    assert {*found} == {*rules.names()}
    return found


class Scene:
    """A student, a batch of noise, and a teacher's answers to it."""

    def __init__(self, name: str, device: str) -> None:
        torch.manual_seed(0)
        self.images = torch.randn(BATCH, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
        self.teacher = 5 * torch.randn(BATCH, CLASSES, device=device)
        self.labels = torch.arange(BATCH, device=device) % CLASSES
        self.network = build(name, CLASSES).to(device).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.scores = energy(self.teacher)

    def teach(self, rule: Rule, cuts: Tensor | None, student: Tensor) -> None:
        """The loss, and its gradient by the logits."""
        samples = Samples(self.teacher, student, self.labels, scores=self.scores, cuts=cuts)
        kd_loss(student, self.teacher, rule.soften(samples)).backward()

    def step(self, rule: Rule) -> None:
        self.optimizer.zero_grad()
        self.teach(rule, None, self.network(self.images))
        self.optimizer.step()


def measure(name: str, device: str, turns: int, steps: int) -> dict[str, Numbers]:
    """The cost of each rule as a share of a step, one number a turn."""
    scene, known = Scene(name, device), usual_rules()
    logits = torch.randn(BATCH, CLASSES, device=device, requires_grad=True)

    def repeat(work: Callable[[], None], times: int) -> Callable[[], int]:
        def turn() -> int:
            for _ in range(times):
                work()
            return times

        return turn

    sides = {STEP: repeat(lambda: scene.step(known["plain"]), steps)}
    for rule_name, rule in known.items():
        cuts = rule.cuts(scene.scores)
        sides[rule_name] = repeat(lambda rule=rule, cuts=cuts: scene.teach(rule, cuts, logits), 50 * steps)
    for side in sides.values():
        side()
    rates = take_turns(sides, turns, device)
    seconds = {side: [1 / rate for rate in numbers.values] for side, numbers in rates.items()}

    def cost(rule: str) -> Numbers:
        turn = zip(seconds[rule], seconds["plain"], seconds[STEP], strict=True)
        return Numbers(tuple((own - plain) / step for own, plain, step in turn))

    return {rule: cost(rule) for rule in known if rule != "plain"}


def main(argv: Sequence[str]) -> int:
    parser = make_parser("The cost of each temperature rule, of a student's step.", turns=5, on_device=True)
    parser.add_argument("--student", default="resnet8x4")
    parser.add_argument("--steps", type=whole(1), default=4, help="of the student in a turn (default 4)")
    options = parser.parse_args(argv)
    about = prepare_device(options)
    found = measure(options.student, options.device, options.turns, options.steps)
    lines = [f"{options.student}, batch {BATCH}, {about['device']}, {about['threads']} threads"]
    lines += [f"{rule:14} {100 * cost.median:.2f} % of a step (n = {len(cost.values)})" for rule, cost in found.items()]
    return show(options, about | {"student": options.student, "costs": found}, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
