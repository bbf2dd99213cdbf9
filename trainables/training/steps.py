"""The optimizer steps of one student: forward, loss, backward, update. None of them waits for the device."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ekd_core.rules import Samples
from ekd_core.softening import map_tensors
from trainables.data.random_streams import Purpose, generator
from trainables.errors import UserError
from trainables.methods import Batch, Method
from trainables.models import Network, Outputs
from trainables.own_code import NETWORKS
from trainables.rules import rule_of
from trainables.spec import RunSpec
from trainables.training.distributed import current_share
from trainables.training.evaluation import autocast
from trainables.training.views import View, Views


class StudentModule(nn.Module):
    """A network, the modules of its method and of its rule, which one optimizer trains. Computes as much as the method
    needs."""

    def __init__(
        self, network: Network, extra: nn.Module | None, learned: nn.Module | None = None, *, features: bool
    ) -> None:
        super().__init__()
        self.network, self.extra, self.learned, self.features = network, extra, learned, features

    def forward(self, images: Tensor) -> Outputs:
        if self.features or self.network.TRACED:
            outputs = self.network.forward_features(images)
            return outputs if self.features else Outputs.of_logits(outputs.logits)
        return Outputs.of_logits(self.network(images))


class Steps:
    """The steps of a run, and what they add up to over an epoch.

    module: the student.
    parallel: the same, wrapped to average its gradients over the devices that share a batch; the module itself on one
        device.
    sums: (3,) the losses, and the samples of low and of high energy.
    samples, mixed: how many images were seen, and how many mixed ones.
    """

    KEEPS_GRADIENTS: ClassVar[bool] = False
    """Gradients are set to zero before a step rather than dropped: a recording writes to the same memory."""

    replays = True
    """Whether what has been recorded is used."""

    def __init__(self, spec: RunSpec, method: Method, module: StudentModule, parallel: nn.Module) -> None:
        self.spec, self.method, self.module, self.parallel = spec, method, module, parallel
        self.rule = rule_of(spec)
        self.device = next(module.parameters()).device
        groups: list[dict[str, Any]] = [{"params": list(module.parameters()), "lr": spec.lr}]
        if spec.peer_lr is not None:
            assert module.extra is not None
            groups = [
                {"params": list(module.network.parameters()), "lr": spec.lr},
                {"params": list(module.extra.parameters()), "lr": spec.peer_lr},
            ]
        self._rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.SGD(groups, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True)
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.samples = self.mixed = 0
        self._to_measure = False
        self._low_and_high = spec.end
        self._strong = method.wants_strong
        # The program's networks draw nothing; of others the first step tells.
        self._draws = False if {spec.student, spec.peer or spec.student} <= {*NETWORKS.split()} else None
        self._autocast = autocast(self.device.type, spec.precision)

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed from a recording, in the last epoch at least."""
        return False

    def fixed(self, epoch: int) -> bool:
        """Whether loss and rule are the same functions of a batch's tensors in this and in every later epoch."""
        return not self._draws and self.method.fixed(epoch) and (self.rule is None or self.rule.fixed(epoch))

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rates of an epoch: x lr_decay after each milestone."""
        falls = sum(epoch > milestone for milestone in self.spec.milestones)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.spec.lr_decay**falls
        self.sums.zero_()
        self.samples = self.mixed = 0
        self._to_measure = self.method.MEASURES and epoch == 1

    def prepare(self, views: Views) -> None:
        """Make everything of a chunk that the steps share with those of other students, and count."""
        spec, weak = self.spec, views.weak
        weak.temperature(spec, self.rule)
        if self._strong:
            _ = views.strong
        if self.method.BATCH_STATISTICS:
            _ = views.batch_answers
        if spec.mixing is not None:
            mixed = views.mixed(spec.mixing, spec.membership)
            self.mixed += len(mixed.images)
            if len(mixed.images):
                mixed.temperature(spec, self.rule)
        if self._low_and_high is not None:
            self.sums[1:] += weak.count_ends(spec.membership, self._low_and_high)
        if self._to_measure:
            self._measure(views)

    def _measure(self, views: Views) -> None:
        """Show the method the untrained student, whose running statistics stay as they are."""
        batch, module = self._batch(views, views.weak, 0), copy.deepcopy(self.module)
        with torch.no_grad(), self._autocast, self._seeded(batch):
            student = module(batch.images).map(Tensor.float)
        student = student._replace(logits=student.logits.requires_grad_())
        self.method.measure(student, self._soften(student, batch))
        self._to_measure = False

    def _soften(self, student: Outputs, batch: Batch) -> Batch:
        """The batch with the temperatures of a rule that asks for the student."""
        if self.rule is None or not self.rule.STUDENT:
            return batch
        teacher, learned = batch.teacher_outputs.logits, self.module.learned
        samples = Samples(teacher, student.logits, batch.labels, batch.epoch, learned=learned)
        return replace(batch, temperature=self.rule.soften(samples))

    def train(self, views: Views) -> None:
        """One optimizer step on each batch of a chunk, and on its mixed images if the run has them and any were
        selected."""
        spec, weak = self.spec, views.weak
        for number, (start, end) in enumerate(weak.bounds):
            self.optimizer.zero_grad(set_to_none=not self.KEEPS_GRADIENTS)
            loss = self.learn(self._batch(views, weak, number))
            if spec.mixing is not None:
                mixed = views.mixed(spec.mixing, spec.membership)
                first, last = mixed.bounds[number]
                if last > first:
                    loss = loss + self.learn(self._batch(views, mixed, number))
            self.sums[0] += loss * (end - start)
            self.samples += end - start
            self.update()

    def update(self) -> None:
        self.optimizer.step()

    @contextlib.contextmanager
    def _seeded(self, batch: Batch) -> Iterator[None]:
        """What is drawn inside from torch's global generator, as by dropout, depends on the run, the epoch and the step
        alone. Notes whether anything was."""
        random = torch.cuda if self.device.type == "cuda" else torch
        with torch.random.fork_rng(devices=[self.device] if random is torch.cuda else []):
            torch.manual_seed(batch.draw_seed() ^ (1 + batch.mixed + 2 * current_share().rank))
            before = random.get_rng_state()
            yield
            self._draws = self._draws or not torch.equal(before, random.get_rng_state())

    def learn(self, batch: Batch) -> Tensor:
        """Forward and backward pass; gradients are added to what is there. Returns the loss."""
        with contextlib.nullcontext() if self._draws is False else self._seeded(batch):
            with self._autocast:
                student = self.parallel(batch.images)
                strong = None if batch.strong is None else self.parallel(batch.strong.images)
            student = student.map(Tensor.float)
            batch = self._soften(student, batch)
            if strong is not None:
                loss = self.method.two_view_loss(student, strong.map(Tensor.float), batch)
            elif batch.mixed:
                loss = self.method.mixed_loss(student, batch)
            else:
                loss = self.method.loss(student, batch)
        if not isinstance(loss, Tensor) or loss.ndim:
            found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise UserError(f"the loss of {self.spec.method} is {found}: return a tensor of one number, the mean")
        if not len(batch.labels):
            # Of a last batch with fewer samples than devices, this one has none: it only takes part.
            loss = loss.nan_to_num()
        (loss if batch.weight == 1 else loss * batch.weight).backward()
        return loss.detach()

    def _batch(self, views: Views, view: View, number: int, tempered: View | None = None) -> Batch:
        """A step's rows of a view, with all that the loss needs besides the student.

        tempered: the view of the same samples that decides their temperatures, if it is another one.
        """
        spec, chunk = self.spec, views.chunk
        start, end = view.bounds[number]
        temperature = (tempered or view).temperature(spec, self.rule)
        teacher = None
        if spec.teacher is not None:
            answers = views.batch_answers if self.method.BATCH_STATISTICS else view.teacher
            assert answers is not None
            if not self.method.FEATURES:
                answers = Outputs.of_logits(answers.logits)
            teacher = answers.map(lambda tensor: tensor[start:end])
        # Gradients are averaged over the devices; with this weight they are those of the mean over the batch.
        world = views.stream.share.world
        weight = 1.0 if world == 1 else (end - start) * world / chunk.sizes[number]
        strong = None
        if self._strong and tempered is None:
            strong = self._batch(views, views.strong, number, tempered=view)
        return Batch(
            images=view.images[start:end],
            labels=view.labels[start:end],
            epoch=chunk.epoch,
            temperature=map_tensors(temperature, lambda tensor: tensor[start:end]),
            base=1.0 if spec.temperature is None else spec.temperature.base,
            teacher=teacher,
            index=view.index[start:end],
            others=None if view.others is None else view.others[start:end],
            strong=strong,
            mixed=view.mixed,
            weight=weight,
            extra=self.module.extra,
            draw_seed=functools.partial(_draw_seed, spec, chunk.epoch, chunk.first_step + number),
        )


def _draw_seed(spec: RunSpec, epoch: int, number: int) -> int:
    return int(generator(spec.seed, Purpose.METHOD_DRAWS, epoch, number, name=spec.method).integers(2**63 - 1))
