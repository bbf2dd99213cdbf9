"""Contrastive representation distillation (Tian et al. 2020), negatives drawn from other classes ("exact").

Not with torchdistill's CRDLoss (1.1.5): for given negatives its value is the same, but it copies every negative's row
and waits for the device in every step; without given negatives it fails on an attribute that it does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from trainables.errors import UserError
from trainables.methods import Batch, Method, Setup
from trainables.models import Outputs

EPS = 1e-7
WHOLE_UP_TO = 16


class MemoryBank(nn.Module):
    """What a network last said of each training sample, in d dimensions: a linear embedding and its memory.

    z: what makes the scores of the first batch against this memory average 1 / M; 0 before that batch.
    """

    memory: Tensor
    z: Tensor

    def __init__(self, inputs: int, dimensions: int, samples: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, dimensions)
        bound = math.sqrt(3 / dimensions)
        self.register_buffer("memory", torch.empty(samples, dimensions).uniform_(-bound, bound))
        self.register_buffer("z", torch.zeros(()))

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, K) to (N, d), of length 1."""
        return normalize(self.embed(pooled), dim=1)

    @torch.no_grad()
    def remember(self, index: Tensor, embedded: Tensor, momentum: float) -> None:
        """index: (N,), no sample twice."""
        moved = momentum * self.memory[index] + (1 - momentum) * embedded
        self.memory.index_copy_(0, index, normalize(moved, dim=1))


class Contrast(nn.Module):
    """The banks of both networks, and which of the M training samples are whose negatives.

    kinds: (M,) the class of each sample, from 0. order: (M,) the samples by class; counts[c] of them, from starts[c],
    are of class c. All of this follows from the data and is not saved.
    """

    kinds: Tensor
    order: Tensor
    starts: Tensor
    counts: Tensor

    def __init__(self, student: int, teacher: int, dimensions: int, labels: Tensor, negatives: int) -> None:
        super().__init__()
        self.student, self.teacher = (MemoryBank(inputs, dimensions, len(labels)) for inputs in (student, teacher))
        kinds, counts = labels.cpu().unique(return_inverse=True, return_counts=True)[1:]
        self.fewest = len(labels) - int(counts.max())
        self.negatives = negatives
        self.whole = len(labels) <= WHOLE_UP_TO * (negatives + 1)
        buffers = {"kinds": kinds, "order": kinds.argsort(stable=True), "starts": counts.cumsum(0) - counts}
        for name, values in (buffers | {"counts": counts}).items():
            self.register_buffer(name, values, persistent=False)

    def weights(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """(N, M) how often each sample is a negative of those in index (N,): K in each row."""
        others = self.kinds != self.kinds[index][:, None]
        if self.negatives > self.fewest:
            return others * (self.negatives / others.sum(dim=1, keepdim=True))
        keys = torch.rand(others.shape, generator=generator, device=others.device).masked_fill_(~others, -1)
        chosen = keys.topk(self.negatives, dim=1, sorted=False).indices
        return torch.zeros_like(keys).scatter_(1, chosen, 1.0)

    def drawn(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """(N, K) negatives of those in index (N,), with replacement."""
        kind = self.kinds[index][:, None]
        start, count = self.starts[kind], self.counts[kind]
        shape, device = (len(index), self.negatives), index.device
        share = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
        place = (share * (len(self.kinds) - count)).long()
        return self.order[torch.where(place < start, place, place + count)]

    def scores(self, embedded: Tensor, bank: MemoryBank, index: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Products with the memories (N,) of index and (N, M) or (N, K) of the candidates, see `chosen` of CRD."""
        positive = (embedded * bank.memory[index]).sum(dim=1)
        if self.whole:
            # The memory moves before the gradient is computed from it.
            return positive, embedded @ bank.memory.clone().T
        rows = bank.memory[chosen.flatten()].unflatten(0, chosen.shape)
        return positive, (rows @ embedded[:, :, None]).squeeze(2)


@dataclass(frozen=True)
class CRD(Method):
    """L = ce CE(labels, student) + weight (NCE(student, memory of teacher) + NCE(teacher, memory of student)).

    NCE(v, B) = -mean_i [log h(v_i, B_i) + sum_k log(1 - h(v_i, B_k))],  h = e / (e + K / M),
    e = exp(v b / temperature) / Z.  v: pooled features, linearly embedded to `dimensions` and of length 1. B: the
    embeddings of all M training samples when last seen, B_i <- momentum B_i + (1 - momentum) v_i after each step, of
    length 1. k: K = `negatives` samples of other classes than i's. Z: set by the first batch, see MemoryBank.

    As in the released code, K negatives of a sample are drawn without replacement. Where some class has fewer samples
    outside it, the released code draws with replacement; here all those count, K / number each, which is the mean of
    such draws.

    For M <= 16 (K + 1) a batch is multiplied with the whole memory, and of the (N, M) products the drawn ones are kept:
    the same numbers as from copies of the drawn rows, (N, K, d), in a ninth of the time on CIFAR-100 (a processor, N =
    64); at the limit both take as long. For a larger M (ImageNet) rows are copied, and drawn with replacement: one in
    2 M / K is then drawn before.

    COUPLED: a batch shares the memories, of which each device would have its own.
    """

    FEATURES = True
    COUPLED = True

    ce: float
    weight: float
    dimensions: float
    negatives: float
    temperature: float
    momentum: float

    def __post_init__(self) -> None:
        for name in ("dimensions", "negatives"):
            if getattr(self, name) < 1 or getattr(self, name) % 1:
                raise UserError(f"crd takes a whole number of {name}, 1 or more, not {getattr(self, name):g}")
        if self.temperature <= 0:
            raise UserError(f"crd needs a temperature above 0, not {self.temperature:g}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"crd needs a momentum in [0, 1), not {self.momentum:g}")

    def extra(self, setup: Setup) -> nn.Module:
        assert setup.teacher is not None
        widths = setup.student.pooled.shape[1], setup.teacher.pooled.shape[1]
        contrast = Contrast(*widths, int(self.dimensions), setup.labels, int(self.negatives))
        if contrast.fewest == 0:
            raise UserError("crd contrasts samples of different classes: the training images are all of one")
        return contrast

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        contrast, index = batch.extra, batch.index
        assert isinstance(contrast, Contrast)
        assert index is not None
        generator = torch.Generator(index.device).manual_seed(batch.draw_seed())
        choose: Callable[[Tensor, torch.Generator], Tensor] = contrast.weights if contrast.whole else contrast.drawn
        chosen = choose(index, generator)
        own = contrast.student(student.pooled)
        teacher = contrast.teacher(batch.teacher_outputs.pooled)
        nce = self._nce(own, contrast, contrast.teacher, index, chosen)
        nce = nce + self._nce(teacher, contrast, contrast.student, index, chosen)
        contrast.student.remember(index, own, self.momentum)
        contrast.teacher.remember(index, teacher, self.momentum)
        return self.ce * cross_entropy(student.logits, batch.labels) + self.weight * nce

    def _nce(self, embedded: Tensor, contrast: Contrast, bank: MemoryBank, index: Tensor, chosen: Tensor) -> Tensor:
        positive, others = (
            (products / self.temperature).exp() for products in contrast.scores(embedded, bank, index, chosen)
        )
        weights = chosen if contrast.whole else torch.ones((), device=index.device)
        samples, noise = len(contrast.kinds), self.negatives / len(contrast.kinds)
        mean = (positive.sum() + (weights * others).sum()) / (len(index) * (self.negatives + 1))
        z = torch.where(bank.z > 0, bank.z, samples * mean).detach()
        bank.z.copy_(z)
        positive, others = positive / z, others / z
        hits = (positive / (positive + noise + EPS)).log()
        misses = weights * (noise / (others + noise + EPS)).log()
        return -(hits.sum() + misses.sum()) / len(index)


METHOD = CRD
