"""The optimizer steps of one student: forwards, loss, backwards, update. None of them waits for the device."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.random_streams import generator
from trainables.data.stream import WHOLE, Share
from trainables.methods import Method, Step
from trainables.models import Network, Outputs
from trainables.spec import RunSpec
from trainables.training.cuda_graphs import Replayed, Tensors
from trainables.training.evaluation import autocast
from trainables.training.outputs import in_float, logits_only, rows
from trainables.training.views import Teaching, TemperatureOf, View, Views


class Learner(nn.Module):
    """A network and the modules of its method, which one optimizer trains. Answers as much as the method needs."""

    def __init__(self, network: Network, extra: nn.Module | None, *, features: bool) -> None:
        super().__init__()
        self.network, self.extra, self.features = network, extra, features

    def forward(self, images: Tensor) -> Outputs:
        return self.network.forward_features(images) if self.features else logits_only(self.network(images))


class Steps:
    """The steps of a run, and what they add up to over an epoch: the losses and the samples of low and of high energy
    (`sums`), all samples, and the mixed images.

    answer: the learner, or what averages its gradients over the devices that share a batch. replayed: records the
    passes and updates, where the method's loss allows it.
    """

    def __init__(
        self,
        spec: RunSpec,
        method: Method,
        learner: Learner,
        answer: nn.Module,
        share: Share,
        replayed: Replayed | None,
    ) -> None:
        self.spec, self.method, self.share = spec, method, share
        self._learner, self._answer, self._replayed = learner, answer, replayed
        first = next(learner.parameters())
        self.device = first.device
        groups: list[dict[str, Any]] = [{"params": list(learner.parameters()), "lr": spec.lr}]
        if spec.peer_lr is not None:
            assert learner.extra is not None
            groups = [
                {"params": list(learner.network.parameters()), "lr": spec.lr},
                {"params": list(learner.extra.parameters()), "lr": spec.peer_lr},
            ]
        self._rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.SGD(
            groups,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            fused=True,
        )
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.samples = self.mixed = 0
        self.rate = spec.lr

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rates of an epoch: x lr_decay after each milestone."""
        falls = sum(epoch > milestone for milestone in self.spec.milestones)
        self.rate = self.spec.lr * self.spec.lr_decay**falls
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.spec.lr_decay**falls
        self.sums.zero_()
        self.samples = self.mixed = 0

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed, in the last epoch at least."""
        return self._replayed is not None and self.method.fixed(self.spec.epochs)

    def prepare(self, views: Views, teaching: Teaching | None) -> None:
        """Make everything of a chunk's views that its steps share with those of other students, and count."""
        spec = self.spec
        self._temperature(views.weak, teaching)
        if self.method.wants_strong:
            _ = views.strong
        if self.method.BATCH_STATISTICS:
            _ = views.batch_answers
        if spec.mixing is not None:
            mixed = views.mixed(spec.mixing, spec.membership)
            self.mixed += len(mixed.images)
            if len(mixed.images):
                self._temperature(mixed, teaching)
        if spec.end is not None:
            assert teaching is not None
            self.sums[1:] += teaching.ends(views.weak, spec.membership, spec.end)

    def step(self, views: Views, step: int, epoch: int, teaching: Teaching | None) -> None:
        """One optimizer step on one batch (and on its mixed images, if the run has them and any were selected)."""
        start, end = views.weak.bounds[step]
        replayed = self._replayed if self.method.fixed(epoch) else None
        self.optimizer.zero_grad(set_to_none=self._replayed is None)
        loss = self._pass(views, views.weak, step, epoch, teaching, replayed)
        if self.spec.mixing is not None:
            mixed = views.mixed(self.spec.mixing, self.spec.membership)
            first, last = mixed.bounds[step]
            if last > first:
                loss = loss + self._pass(views, mixed, step, epoch, teaching, replayed)
        self.sums[0] += loss * (end - start)
        self.samples += end - start
        if replayed is None:
            self.optimizer.step()
        else:
            replayed(("update", self.rate), {}, lambda _: self.optimizer.step())

    def _pass(
        self,
        views: Views,
        view: View,
        step: int,
        epoch: int,
        teaching: Teaching | None,
        replayed: Replayed | None,
    ) -> Tensor:
        """Forwards and backwards on a step's rows of a view; gradients are added to what is there. Returns the loss."""
        seen = self._seen(views, view, step, epoch, teaching)
        if self.method.wants_strong:
            seen = replace(seen, strong=self._seen(views, views.strong, step, epoch, teaching, tempered=view))
        mixed = view is not views.weak
        weight = 1.0
        if self.share != WHOLE:
            # Gradients are averaged over the devices; so weighed, that is the mean over the whole batch.
            weight = len(seen.labels) * self.share.world / views.chunk.sizes[step]
        if replayed is None:
            return self._learned(seen, mixed, weight)
        key = ("mixed" if mixed else "weak", len(seen.labels))
        loss = replayed(key, _tensors(seen), lambda tensors: self._learned(_with(seen, tensors), mixed, weight))
        assert loss is not None
        return loss

    def _learned(self, seen: Step, mixed: bool, weight: float) -> Tensor:
        seen = replace(seen, student=self._outputs(seen.images))
        if seen.strong is not None:
            seen = replace(seen, strong=replace(seen.strong, student=self._outputs(seen.strong.images)))
        loss = self.method.mixed_loss(seen) if mixed else self.method.loss(seen)
        if not len(seen.labels):
            # Of a last batch with fewer samples than devices, this one has none: it only takes part.
            loss = loss.nan_to_num()
        (loss * weight if self.share != WHOLE else loss).backward()
        return loss.detach()

    def _outputs(self, images: Tensor) -> Outputs:
        with autocast(self.device.type, self.spec.precision):
            return in_float(self._answer(images))

    def _seen(
        self,
        views: Views,
        view: View,
        step: int,
        epoch: int,
        teaching: Teaching | None,
        *,
        tempered: View | None = None,
    ) -> Step:
        """A step's rows of a view as the loss sees them, but for what the student says of them.

        tempered: the view of the same samples that decides their temperatures, if it is another one.
        """
        start, end = view.bounds[step]
        temperature = self._temperature(tempered or view, teaching)
        teacher = None
        if self.spec.teacher is not None:
            known = views.batch_answers if self.method.BATCH_STATISTICS else view.teacher
            assert known is not None
            teacher = rows(known if self.method.FEATURES else logits_only(known.logits), start, end)
        number = views.chunk.first_step + step
        return Step(
            student=NOTHING_YET,
            labels=view.labels[start:end],
            epoch=epoch,
            temperature=temperature[start:end] if isinstance(temperature, Tensor) else temperature,
            images=view.images[start:end],
            teacher=teacher,
            index=view.index[start:end],
            others=None if view.others is None else view.others[start:end],
            extra=self._learner.extra,
            draw=functools.partial(_draw, self.spec, epoch, number),
        )

    def _temperature(self, view: View, teaching: Teaching | None) -> TemperatureOf:
        """Of every sample of a view, if the loss has one."""
        if self.spec.teacher is None or self.spec.temperature is None:
            return 1.0
        assert teaching is not None
        return teaching.temperature(view, self.spec.temperature, self.spec.membership)


NOTHING_YET = logits_only(torch.empty(0, 0))


def _tensors(seen: Step) -> Tensors:
    """What differs from one step to the next of those that a recording serves."""
    found = {"images": seen.images, "labels": seen.labels}
    if seen.teacher is not None:
        found["teacher"] = seen.teacher.logits
    if isinstance(seen.temperature, Tensor):
        found["temperature"] = seen.temperature
    if seen.others is not None:
        found["others"] = seen.others
    return found


def _with(seen: Step, tensors: Tensors) -> Step:
    return replace(
        seen,
        images=tensors["images"],
        labels=tensors["labels"],
        teacher=logits_only(tensors["teacher"]) if "teacher" in tensors else None,
        temperature=tensors.get("temperature", seen.temperature),
        others=tensors.get("others"),
    )


def _draw(spec: RunSpec, epoch: int, number: int) -> int:
    return int(generator(spec.seed, f"draws of {spec.method}", epoch, number).integers(2**63 - 1))
