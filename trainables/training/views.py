"""Views of a chunk: the images as they are, or mixed as a student asks, each with its teacher's answers.

A view is made when the first student asks and kept for the chunk: the teacher sees it once, however many share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from ekd_core import cutmix, energy, energy_thresholds, mixup, partners, select
from ekd_core.rules import Rule, Samples
from ekd_core.rules.plain import Plain
from ekd_core.softening import Temperature as TemperatureOf
from trainables.data.random_streams import Purpose, generator
from trainables.data.stream import Chunk, Stream, normalise, to_device
from trainables.models import Outputs
from trainables.spec import Mixing, RunSpec, Temperature
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

    def scores(self, membership: str) -> Tensor:
        """(n,) of the samples, see TeacherContext."""
        assert self.context is not None
        return self.context.ranks[self.index] if membership == "image" else self.energies

    def temperature(self, spec: RunSpec, rule: Rule | None) -> TemperatureOf:
        """What a run's rule makes of the samples; 1 for a run without one, and where the rule asks for the student."""
        if isinstance(rule, Plain):
            return rule.temperature
        if rule is None or rule.STUDENT or spec.temperature is None:
            return 1.0
        key = spec.temperature, spec.membership
        if key not in self._temperatures:
            assert self.context is not None
            assert self.teacher is not None
            cuts = self.context.cuts(spec, rule)
            scores = None if cuts is None else self.scores(spec.membership)
            samples = Samples(self.teacher.logits, labels=self.labels, scores=scores, cuts=cuts)
            self._temperatures[key] = rule.soften(samples)
        return self._temperatures[key]

    def count_ends(self, membership: str, end: float) -> Tensor:
        """(2,) how many samples lie below the low and above the high threshold. Does not wait for the device."""
        key = membership, end
        if key not in self._ends:
            assert self.context is not None
            scores, (low, high) = self.scores(membership), self.context.thresholds(membership, end)
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
        self._cuts: dict[tuple[str, Temperature | None], Tensor | None] = {}

    @cached_property
    def ranks(self) -> Tensor:
        """(N,) of the images by their energy, the lowest 0; of equal energies the first image comes first."""
        return self.facts.energies["image"].argsort(stable=True).argsort().float()

    def _reference(self, membership: str) -> Tensor:
        """(N,) the scores of the training set."""
        return self.ranks if membership == "image" else self.facts.energies["view"]

    def thresholds(self, membership: str, end: float) -> tuple[Tensor, Tensor]:
        """The scores below and above which the share `end` of the training set lies."""
        key = membership, end
        if key not in self._thresholds:
            self._thresholds[key] = energy_thresholds(self._reference(membership), end, end)
        return self._thresholds[key]

    def cuts(self, spec: RunSpec, rule: Rule) -> Tensor | None:
        """Where a run's rule cuts the scores of the training set; None if it does not."""
        key = spec.membership, spec.temperature
        if key not in self._cuts:
            cut = spec.temperature is not None and spec.temperature.end is not None
            self._cuts[key] = rule.cuts(self._reference(spec.membership)) if cut else None
        return self._cuts[key]


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
        rows, bounds = self._select(mixing, membership)
        step = chunk.step[rows]
        partner = partners(step, chunk.mixing[rows])
        images, labels, index = chunk.images[rows], chunk.labels[rows], chunk.index[rows]
        keep, centre = self._draw(mixing, len(bounds))
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
        return View(mixed, larger, teacher, bounds, index, self.context, mixed=True, others=others)

    def _select(self, mixing: Mixing, membership: str) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
        """(m,) the rows that are mixed, in steps where they are two or more, and where each step's lie among them.
        Waits for the device unless all are mixed."""
        chunk = self.chunk
        if mixing.end is None:
            return torch.arange(chunk.bounds[-1], device=chunk.labels.device), tuple(pairwise(chunk.bounds))
        assert self.context is not None
        thresholds = self.context.thresholds(membership, mixing.end)
        marked = select(self.weak.scores(membership), mixing.selection, *thresholds)
        counts = chunk.step.new_zeros(len(chunk.bounds) - 1).index_add_(0, chunk.step, marked.to(chunk.step.dtype))
        rows = (marked & (counts >= 2)[chunk.step]).nonzero().squeeze(1)
        sizes = [size if size >= 2 else 0 for size in counts.tolist()]
        return rows, tuple(pairwise(accumulate(sizes, initial=0)))

    def _draw(self, mixing: Mixing, steps: int) -> tuple[Tensor, Tensor]:
        """One share of the image that stays, Beta(alpha, alpha), and one box centre for each step of the chunk."""
        draw = generator(
            self.stream.seed, Purpose.MIXING, self.chunk.epoch, self.chunk.first_step, name=mixing.operation
        )
        keep = draw.beta(mixing.alpha, mixing.alpha, steps).astype("float32")
        centre = draw.random((steps, 2)).astype("float32")
        device = self.chunk.images.device
        return to_device(torch.from_numpy(keep), device), to_device(torch.from_numpy(centre), device)
