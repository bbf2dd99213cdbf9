"""Views of a chunk: the images as they are, or mixed as a student asks, each with its teacher's answers.

A view is made when the first student asks and kept for the chunk: the teacher sees it once, however many share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from ekd_core import (
    cutmix,
    energy,
    energy_temperature,
    energy_thresholds,
    gradation_edges,
    gradation_temperature,
    mixup,
    partners,
)
from trainables.bank import Bank
from trainables.data.stream import Chunk, Stream, generator, normalise, sent
from trainables.models import Outputs
from trainables.outputs import joined, logits_only
from trainables.selection import Selection, chosen, threshold_rate
from trainables.spec import Mixing, Temperature
from trainables.teachers import Teacher, TeacherFacts

TemperatureOf = float | Tensor


@dataclass(frozen=True)
class View:
    """images: (n, 3, H, W) as the networks take them; labels: (n,); teacher: its outputs, or None without a teacher;
    bounds: the rows of each step of the chunk, of which a mixed view may have none; index: (n,) positions in the
    training set, or None where images are mixed; others: (n,) the second label of mixed images, where it is asked for.
    """

    images: Tensor
    labels: Tensor
    teacher: Outputs | None
    bounds: tuple[tuple[int, int], ...]
    index: Tensor | None = None
    others: Tensor | None = None
    temperatures: dict[Temperature, TemperatureOf] = field(default_factory=dict)

    @cached_property
    def energies(self) -> Tensor:
        assert self.teacher is not None
        return energy(self.teacher.logits)


class Teaching:
    """A teacher and the thresholds that its energies over the training set give; both kept for the whole job. bank: of
    its answers, if there is one."""

    def __init__(self, teacher: Teacher, facts: TeacherFacts, bank: Bank | None = None) -> None:
        self.teacher, self.facts, self.bank = teacher, facts, bank
        self._thresholds: dict[float, tuple[Tensor, Tensor]] = {}
        self._edges: dict[int, Tensor] = {}
        self._selections: dict[Mixing, tuple[int, Selection]] = {}

    def thresholds(self, rate: float) -> tuple[Tensor, Tensor]:
        if rate not in self._thresholds:
            self._thresholds[rate] = energy_thresholds(self.facts.energies, rate, rate)
        return self._thresholds[rate]

    def selection(self, mixing: Mixing, epoch: int) -> Selection | None:
        """The samples of an epoch that are mixed, where a bank knows all answers of it."""
        bank = self.bank
        if bank is None or not bank.filled(epoch):
            return None
        known, found = self._selections.get(mixing, (0, None))
        if known != epoch or found is None:
            logits = bank.epoch_logits()
            step = torch.arange(len(logits), device=logits.device) // bank.stream.batch_size
            thresholds = self.thresholds(threshold_rate(mixing))
            found = chosen(energy(logits), step, bank.stream.steps, mixing, thresholds)
            self._selections[mixing] = epoch, found
        return found

    def temperature(self, view: View, rule: Temperature) -> TemperatureOf:
        """The temperature of every sample of a view: a number, or (n,)."""
        if rule not in view.temperatures:
            view.temperatures[rule] = self._temperature(view, rule)
        return view.temperatures[rule]

    def _temperature(self, view: View, rule: Temperature) -> TemperatureOf:
        if rule.rule == "plain":
            return rule.base
        if rule.rule == "gradation":
            segments = len(rule.values)
            if segments not in self._edges:
                self._edges[segments] = gradation_edges(self.facts.energies, segments)
            return gradation_temperature(view.energies, self._edges[segments], rule.values)
        low, high = self.thresholds(rule.rate)
        plus = 0.0 if rule.rule == "high" else rule.plus
        minus = 0.0 if rule.rule == "low" else rule.minus
        if rule.rule == "reversed":
            plus, minus = minus, plus
        return energy_temperature(view.energies, low, high, rule.base, plus, minus)


class Views:
    """The views of one chunk, made on demand. features: whether some student needs more of the teacher than logits.
    asked: whether some student needs its answers in evaluation mode."""

    def __init__(
        self,
        chunk: Chunk,
        stream: Stream,
        dtype: torch.dtype,
        teaching: Teaching | None,
        *,
        features: bool = False,
        asked: bool = True,
    ) -> None:
        self.chunk, self.stream, self.dtype, self.teaching, self.features = chunk, stream, dtype, teaching, features
        self.asked = asked
        self._mixed: dict[Mixing, View] = {}

    @cached_property
    def weak(self) -> View:
        images = self.chunk.images.to(self.dtype)
        if not self.asked:
            return self._plain(images, None)
        bank = self.teaching.bank if self.teaching and not self.features else None
        return self._plain(
            images, logits_only(bank.logits(self.chunk)) if bank else self._answers(images, self.features)
        )

    @cached_property
    def batch_answers(self) -> Outputs:
        """The teacher's outputs on the weak view by the statistics of each step's images."""
        assert self.teaching is not None
        weak, teacher = self.weak, self.teaching.teacher
        return joined([teacher.batch_outputs(weak.images[start:end]) for start, end in weak.bounds])

    @cached_property
    def strong(self) -> View:
        """The same samples, cropped and flipped anew, under strong augmentation."""
        from trainables.data.strong import strong

        chunk, stream = self.chunk, self.stream
        pixels = strong(
            stream.anew(chunk), generator(stream.seed, "strong augmentation", chunk.epoch, chunk.first_step)
        )
        images = normalise(pixels, stream.mean, stream.std).to(self.dtype)
        return self._plain(images, self._answers(images, features=False))

    def _plain(self, images: Tensor, teacher: Outputs | None) -> View:
        return View(images, self.chunk.labels, teacher, tuple(pairwise(self.chunk.bounds)), self.chunk.index)

    def _answers(self, images: Tensor, features: bool) -> Outputs | None:
        if self.teaching is None:
            return None
        teacher = self.teaching.teacher
        return teacher.outputs(images) if features else logits_only(teacher.logits(images))

    def mixed(self, mixing: Mixing) -> View:
        if mixing not in self._mixed:
            self._mixed[mixing] = self._mix(mixing)
        return self._mixed[mixing]

    def _mix(self, mixing: Mixing) -> View:
        assert self.teaching is not None
        chunk = self.chunk
        selection = self._selection(mixing)
        rows = selection.rows
        step = chunk.step[rows]
        partner = partners(step, chunk.mixing[rows])
        images, labels = chunk.images[rows], chunk.labels[rows]
        keep, centre = self._draw(mixing, len(selection.sizes))
        if mixing.operation == "cutmix":
            mixed, kept = cutmix(images, partner, keep[step], centre[step])
        else:
            kept = keep[step]
            mixed = mixup(images, partner, kept)
        mixed = mixed.to(self.dtype).contiguous(memory_format=torch.channels_last)
        larger = torch.where(kept >= 0.5, labels, labels[partner])
        others = torch.where(kept >= 0.5, labels[partner], labels) if mixing.target == "both" else None
        teacher = self._answers(mixed, features=False) if len(rows) else None
        return View(mixed, larger, teacher, selection.bounds, others=others)

    def _selection(self, mixing: Mixing) -> Selection:
        """Of the chunk; taken from that of the whole epoch where the answers to all of it are known, so that the device
        is waited for once an epoch."""
        assert self.teaching is not None
        chunk, steps = self.chunk, len(self.chunk.bounds) - 1
        whole = None if self.features else self.teaching.selection(mixing, chunk.epoch)
        if whole is not None:
            return whole.part(chunk.first_step, steps, chunk.first_step * self.stream.batch_size)
        thresholds = self.teaching.thresholds(threshold_rate(mixing))
        return chosen(self.weak.energies, chunk.step, steps, mixing, thresholds)

    def _draw(self, mixing: Mixing, steps: int) -> tuple[Tensor, Tensor]:
        """One share of the image that stays, Beta(alpha, alpha), and one box centre for each step of the chunk."""
        draw = generator(self.stream.seed, mixing.operation, self.chunk.epoch, self.chunk.first_step)
        keep = draw.beta(mixing.alpha, mixing.alpha, steps).astype("float32")
        centre = draw.random((steps, 2)).astype("float32")
        device = self.chunk.images.device
        return sent(torch.from_numpy(keep), device), sent(torch.from_numpy(centre), device)
