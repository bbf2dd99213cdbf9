"""Views of a chunk: the images as they are, or mixed as a student asks, each with its teacher's answers.

A view is made when the first student asks and kept for the chunk: the teacher sees it once, however many share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from ekd_core import (
    cutmix,
    energy,
    energy_thresholds,
    mixup,
    partners,
)
from ekd_core.rules import Samples
from ekd_core.rules.plain import Plain
from ekd_core.softening import Temperature as TemperatureOf
from trainables.data.random_streams import Purpose, generator
from trainables.data.stream import Chunk, Stream, normalise, to_device
from trainables.models import Outputs
from trainables.rules import make_rule, rule_of
from trainables.spec import Mixing, RunSpec, Temperature
from trainables.training.selection import Selection, select_all, select_by_score
from trainables.training.teacher_cache import TeacherCache
from trainables.training.teachers import Teacher, TeacherFacts


@dataclass(frozen=True)
class View:
    """Images of one chunk, and what the teacher computes of them.

    images: (n, 3, H, W) as the networks take them.
    labels: (n,).
    teacher: its outputs, or None without a teacher.
    bounds: the rows of each step of the chunk, of which a mixed view may have none.
    index: (n,) positions in the training set, of a mixed image that of the image which fills at least half.
    context: the teacher and its thresholds.
    mixed: whether the images are mixed.
    others: (n,) the second label of mixed images, where it is asked for.
    """

    images: Tensor
    labels: Tensor
    teacher: Outputs | None
    bounds: tuple[tuple[int, int], ...]
    index: Tensor
    context: TeacherContext | None = None
    mixed: bool = False
    others: Tensor | None = None
    _temperatures: dict[tuple[Temperature, str], TemperatureOf] = field(default_factory=dict, init=False)
    _ends: dict[tuple[str, float], Tensor] = field(default_factory=dict, init=False)

    @cached_property
    def energies(self) -> Tensor:
        """(n,)"""
        assert self.teacher is not None
        return energy(self.teacher.logits)

    def temperature(self, spec: RunSpec) -> TemperatureOf:
        """What a run's rule makes of the samples; 1 for a run without one, and where the rule asks for the student."""
        rule, temperature = rule_of(spec), spec.temperature
        if isinstance(rule, Plain):
            return rule.temperature
        if rule is None or rule.STUDENT or temperature is None:
            return 1.0
        key = temperature, spec.membership
        if key not in self._temperatures:
            assert self.context is not None
            self._temperatures[key] = self.context.temperature(self, temperature, spec.membership)
        return self._temperatures[key]

    def count_ends(self, membership: str, end: float) -> Tensor:
        """(2,) how many samples lie below the low and above the high threshold. Does not wait for the device."""
        key = membership, end
        if key not in self._ends:
            assert self.context is not None
            scores, (low, high) = self.context.scores(self, membership), self.context.thresholds(membership, end)
            self._ends[key] = torch.stack([(scores < low).sum(), (scores > high).sum()])
        return self._ends[key]


class TeacherContext:
    """A teacher, what is known of it over the training set, and the cache of its logits if there is one. Kept for the
    whole job.

    A sample is compared by its score: by `view` its energy in this view; by `image` the rank of its image's energy in
    the training set, so that with N images int(N r) are below the low threshold and as many above the high one.
    """

    def __init__(self, teacher: Teacher, facts: TeacherFacts, cache: TeacherCache | None = None) -> None:
        self.teacher, self.facts, self.cache = teacher, facts, cache
        self._thresholds: dict[tuple[str, float], tuple[Tensor, Tensor]] = {}
        self._cuts: dict[tuple[str, Temperature], Tensor | None] = {}

    @cached_property
    def _ranks(self) -> Tensor:
        """(N,) of the images by their energy, the lowest 0; of equal energies the first image comes first."""
        return self.facts.energies["image"].argsort(stable=True).argsort().float()

    def _reference(self, membership: str) -> Tensor:
        """(N,) the scores of the training set."""
        return self._ranks if membership == "image" else self.facts.energies["view"]

    def scores(self, view: View, membership: str) -> Tensor:
        """(n,) of a view's samples."""
        return self._ranks[view.index] if membership == "image" else view.energies

    def thresholds(self, membership: str, end: float) -> tuple[Tensor, Tensor]:
        """The scores below and above which the share `end` of the training set lies."""
        key = membership, end
        if key not in self._thresholds:
            self._thresholds[key] = energy_thresholds(self._reference(membership), end, end)
        return self._thresholds[key]

    def cuts(self, membership: str, temperature: Temperature) -> Tensor | None:
        """Where the rule cuts the scores of the training set; None if it does not."""
        key = membership, temperature
        if key not in self._cuts:
            scores = None if temperature.end is None else self._reference(membership)
            self._cuts[key] = None if scores is None else make_rule(temperature).cuts(scores)
        return self._cuts[key]

    def temperature(self, view: View, temperature: Temperature, membership: str) -> TemperatureOf:
        """What the rule makes of every sample of a view."""
        assert view.teacher is not None
        cuts = self.cuts(membership, temperature)
        scores = None if cuts is None else self.scores(view, membership)
        samples = Samples(view.teacher.logits, labels=view.labels, scores=scores, cuts=cuts)
        return make_rule(temperature).soften(samples)


@dataclass(frozen=True)
class Views:
    """The views of one chunk, made on demand.

    dtype: of the images as the networks take them.
    features: whether some student needs more of the teacher than logits.
    asked: whether some student needs its outputs in evaluation mode.
    """

    chunk: Chunk
    stream: Stream
    dtype: torch.dtype
    context: TeacherContext | None
    features: bool = False
    asked: bool = True
    _mixed: dict[tuple[Mixing, str], View] = field(default_factory=dict, init=False)

    @cached_property
    def weak(self) -> View:
        """The images as they are."""
        chunk, context, teacher = self.chunk, self.context, None
        images = chunk.images.to(self.dtype)
        if context is not None and self.asked:
            cache = None if self.features else context.cache
            teacher = Outputs.of_logits(cache.logits(chunk)) if cache else self._ask(images, self.features)
        return View(images, chunk.labels, teacher, tuple(pairwise(chunk.bounds)), chunk.index, context)

    @cached_property
    def batch_answers(self) -> Outputs:
        """The teacher's outputs on the weak view by the statistics of each step's images."""
        assert self.context is not None
        weak, teacher = self.weak, self.context.teacher
        return Outputs.join([teacher.batch_outputs(weak.images[start:end]) for start, end in weak.bounds])

    @cached_property
    def strong(self) -> View:
        """The same samples, cropped and flipped anew, under strong augmentation."""
        from trainables.data.strong import strong

        chunk, stream = self.chunk, self.stream
        pixels = strong(
            stream.anew(chunk), generator(stream.seed, Purpose.STRONG_AUGMENTATION, chunk.epoch, chunk.first_step)
        )
        images = normalise(pixels, stream.mean, stream.std).to(self.dtype)
        return replace(self.weak, images=images, teacher=None if self.context is None else self._ask(images))

    def _ask(self, images: Tensor, features: bool = False) -> Outputs:
        assert self.context is not None
        teacher = self.context.teacher
        return teacher.outputs(images) if features else Outputs.of_logits(teacher.logits(images))

    def mixed(self, mixing: Mixing, membership: str) -> View:
        """The images that are mixed, with their partners."""
        key = mixing, membership
        if key not in self._mixed:
            self._mixed[key] = self._mix(mixing, membership)
        return self._mixed[key]

    def _mix(self, mixing: Mixing, membership: str) -> View:
        chunk = self.chunk
        selection = self._select(mixing, membership)
        rows = selection.rows
        step = chunk.step[rows]
        partner = partners(step, chunk.mixing[rows])
        images, labels, index = chunk.images[rows], chunk.labels[rows], chunk.index[rows]
        keep, centre = self._draw(mixing, len(selection.bounds))
        if mixing.operation == "cutmix":
            mixed, kept = cutmix(images, partner, keep[step], centre[step])
        else:
            kept = keep[step]
            mixed = mixup(images, partner, kept)
        mixed = mixed.to(self.dtype).contiguous(memory_format=torch.channels_last)
        first = kept >= 0.5
        larger, index = (torch.where(first, own, own[partner]) for own in (labels, index))
        others = torch.where(first, labels[partner], labels) if mixing.target == "both" else None
        teacher = self._ask(mixed) if len(rows) else None
        return View(mixed, larger, teacher, selection.bounds, index, self.context, mixed=True, others=others)

    def _select(self, mixing: Mixing, membership: str) -> Selection:
        chunk = self.chunk
        if mixing.end is None:
            return select_all(chunk.bounds, chunk.labels.device)
        assert self.context is not None
        scores, thresholds = self.context.scores(self.weak, membership), self.context.thresholds(membership, mixing.end)
        return select_by_score(scores, chunk.step, len(chunk.bounds) - 1, mixing, thresholds)

    def _draw(self, mixing: Mixing, steps: int) -> tuple[Tensor, Tensor]:
        """One share of the image that stays, Beta(alpha, alpha), and one box centre for each step of the chunk."""
        draw = generator(
            self.stream.seed, Purpose.MIXING, self.chunk.epoch, self.chunk.first_step, name=mixing.operation
        )
        keep = draw.beta(mixing.alpha, mixing.alpha, steps).astype("float32")
        centre = draw.random((steps, 2)).astype("float32")
        device = self.chunk.images.device
        return to_device(torch.from_numpy(keep), device), to_device(torch.from_numpy(centre), device)
