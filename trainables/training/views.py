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
from trainables.data.random_streams import generator
from trainables.data.stream import Chunk, Stream, normalise, sent
from trainables.models import Outputs
from trainables.spec import Mixing, Temperature
from trainables.training.outputs import joined, logits_only
from trainables.training.selection import Selection, chosen, everything
from trainables.training.teacher_cache import TeacherCache
from trainables.training.teachers import Teacher, TeacherFacts

TemperatureOf = float | Tensor


@dataclass(frozen=True)
class View:
    """images: (n, 3, H, W) as the networks take them; labels: (n,); teacher: its outputs, or None without a teacher;
    bounds: the rows of each step of the chunk, of which a mixed view may have none; index: (n,) positions in the
    training set, of a mixed image that of the image which fills at least half; others: (n,) the second label of mixed
    images, where it is asked for. temperatures, ends: what Teaching has found for it."""

    images: Tensor
    labels: Tensor
    teacher: Outputs | None
    bounds: tuple[tuple[int, int], ...]
    index: Tensor
    others: Tensor | None = None
    temperatures: dict[tuple[Temperature, str], TemperatureOf] = field(default_factory=dict)
    ends: dict[tuple[str, float], Tensor] = field(default_factory=dict)

    @cached_property
    def energies(self) -> Tensor:
        assert self.teacher is not None
        return energy(self.teacher.logits)


class Teaching:
    """A teacher, and the thresholds between low and high energy; both kept for the whole job. cache: of its answers, if
    there is one.

    A sample is compared by its score: by `view` its energy in this view; by `image` the rank of its image's energy in
    the training set, so that with N images int(N r) are below the low threshold and as many above the high one.
    """

    def __init__(self, teacher: Teacher, facts: TeacherFacts, cache: TeacherCache | None = None) -> None:
        self.teacher, self.facts, self.cache = teacher, facts, cache
        self._thresholds: dict[tuple[str, float], tuple[Tensor, Tensor]] = {}
        self._edges: dict[tuple[str, int], Tensor] = {}
        self._selections: dict[Mixing, tuple[int, Selection]] = {}

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

    def ends(self, view: View, membership: str, end: float) -> Tensor:
        """(2,) how many samples of a view lie below the low and above the high threshold. Waits for nothing."""
        key = membership, end
        if key not in view.ends:
            scores, (low, high) = self.scores(view, membership), self.thresholds(membership, end)
            view.ends[key] = torch.stack([(scores < low).sum(), (scores > high).sum()])
        return view.ends[key]

    def selection(self, mixing: Mixing, epoch: int) -> Selection | None:
        """The samples of an epoch that are mixed by their energies, where a cache has all its logits."""
        cache = self.cache
        if cache is None:
            return None
        known, found = self._selections.get(mixing, (0, None))
        if known != epoch or found is None:
            logits = cache.epoch_logits(epoch)
            step = torch.arange(len(logits), device=logits.device) // cache.stream.batch_size
            assert mixing.end is not None
            found = chosen(energy(logits), step, cache.stream.steps, mixing, self.thresholds("view", mixing.end))
            self._selections[mixing] = epoch, found
        return found

    def temperature(self, view: View, rule: Temperature, membership: str) -> TemperatureOf:
        """The temperature of every sample of a view: a number, or (n,)."""
        key = rule, membership
        if key not in view.temperatures:
            view.temperatures[key] = self._temperature(view, rule, membership)
        return view.temperatures[key]

    def _temperature(self, view: View, rule: Temperature, membership: str) -> TemperatureOf:
        if rule.end is None:
            return rule.base
        scores = self.scores(view, membership)
        if rule.rule == "gradation":
            key = membership, len(rule.values)
            if key not in self._edges:
                self._edges[key] = gradation_edges(self._reference(membership), len(rule.values))
            return gradation_temperature(scores, self._edges[key], rule.values)
        low, high = self.thresholds(membership, rule.end)
        return energy_temperature(scores, low, high, rule.base, *rule.shifts)


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
        self._mixed: dict[tuple[Mixing, str], View] = {}

    @cached_property
    def weak(self) -> View:
        images = self.chunk.images.to(self.dtype)
        if not self.asked:
            return self._plain(images, None)
        cache = self.teaching.cache if self.teaching and not self.features else None
        return self._plain(
            images, logits_only(cache.logits(self.chunk)) if cache else self._answers(images, self.features)
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

    def mixed(self, mixing: Mixing, membership: str) -> View:
        key = mixing, membership
        if key not in self._mixed:
            self._mixed[key] = self._mix(mixing, membership)
        return self._mixed[key]

    def _mix(self, mixing: Mixing, membership: str) -> View:
        assert self.teaching is not None
        chunk = self.chunk
        selection = self._selection(mixing, membership)
        rows = selection.rows
        step = chunk.step[rows]
        partner = partners(step, chunk.mixing[rows])
        images, labels, index = chunk.images[rows], chunk.labels[rows], chunk.index[rows]
        keep, centre = self._draw(mixing, len(selection.sizes))
        if mixing.operation == "cutmix":
            mixed, kept = cutmix(images, partner, keep[step], centre[step])
        else:
            kept = keep[step]
            mixed = mixup(images, partner, kept)
        mixed = mixed.to(self.dtype).contiguous(memory_format=torch.channels_last)
        first = kept >= 0.5
        larger, index = (torch.where(first, own, own[partner]) for own in (labels, index))
        others = torch.where(first, labels[partner], labels) if mixing.target == "both" else None
        teacher = self._answers(mixed, features=False) if len(rows) else None
        return View(mixed, larger, teacher, selection.bounds, index, others=others)

    def _selection(self, mixing: Mixing, membership: str) -> Selection:
        """Of the chunk; taken from that of the whole epoch where the answers to all of it are known, so that the device
        is waited for once an epoch."""
        assert self.teaching is not None
        chunk, steps = self.chunk, len(self.chunk.bounds) - 1
        if mixing.end is None:
            return everything(chunk.bounds, chunk.labels.device)
        by_view = membership == "view" and not self.features
        whole = self.teaching.selection(mixing, chunk.epoch) if by_view else None
        if whole is not None:
            return whole.part(chunk.first_step, steps, chunk.first_step * self.stream.batch_size)
        thresholds = self.teaching.thresholds(membership, mixing.end)
        return chosen(self.teaching.scores(self.weak, membership), chunk.step, steps, mixing, thresholds)

    def _draw(self, mixing: Mixing, steps: int) -> tuple[Tensor, Tensor]:
        """One share of the image that stays, Beta(alpha, alpha), and one box centre for each step of the chunk."""
        draw = generator(self.stream.seed, mixing.operation, self.chunk.epoch, self.chunk.first_step)
        keep = draw.beta(mixing.alpha, mixing.alpha, steps).astype("float32")
        centre = draw.random((steps, 2)).astype("float32")
        device = self.chunk.images.device
        return sent(torch.from_numpy(keep), device), sent(torch.from_numpy(centre), device)
