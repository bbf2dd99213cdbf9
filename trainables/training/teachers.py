"""A teacher at work: its weights, its answers, and what is known of it over a whole data set."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule
from torch.fx.experimental.optimization import fuse

from ekd_core import energy
from trainables.data.source import Source
from trainables.data.stream import Stream
from trainables.errors import UserError
from trainables.models import Network, Outputs, build
from trainables.models.checkpoint import load_weights
from trainables.network_names import file_name
from trainables.run_names import name_of
from trainables.spec import RunSpec
from trainables.storage.locks import hold_lock
from trainables.storage.provenance import surroundings
from trainables.storage.runs import (
    drop_temporaries,
    has_weights,
    read_file,
    verify_checksum,
    weights_path,
    with_checksum,
    write_atomically,
)
from trainables.training.distributed import all_gather, current_share
from trainables.training.evaluation import Scores, autocast, choose_batch_size, evaluate

BATCH = {"cpu": 64, "cuda": 2048}


class Teacher:
    """A frozen network in evaluation mode (but for `batch_outputs`). Answers are float32, at the run's precision.

    Its normalisation layers are folded into the convolutions before them, if torch.fx can follow it: the same function,
    in fewer passes. `norms` are the weights and biases, before folding, of the norm before each of its preactivations
    but the first.
    """

    def __init__(self, model: Network, *, device: str, precision: str) -> None:
        self._network = model.eval().requires_grad_(False)
        self.precision = precision
        self.norms = tuple(
            (norm.weight.detach().clone().to(device), norm.bias.detach().clone().to(device))
            for norm in model.preactivation_norms()
        )
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.device = torch.device(device)
        whole = cast(GraphModule, fuse(_Whole(model))) if model.TRACED else _Whole(copy.deepcopy(model))
        self.model = whole.to(device).to(memory_format=torch.channels_last).to(self.dtype)
        self._logits: nn.Module = whole.network if isinstance(whole, _Whole) else _first_output_only(whole)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) -> (n, C), in batches of a fixed size."""
        return torch.cat([self._logits(part).float() for part in self._parts(images)])

    @torch.no_grad()
    def outputs(self, images: Tensor) -> Outputs:
        """Logits, the same as `logits` gives, with features, pooled features and preactivations."""
        answers = [Outputs(*self.model(part)).map(Tensor.float) for part in self._parts(images)]
        return Outputs.join(answers)

    @torch.no_grad()
    def batch_outputs(self, images: Tensor) -> Outputs:
        """What `outputs` gives, of a network whose norms use the statistics of these images, and of them alone."""
        with autocast(self.device.type, self.precision):
            return self.by_batch.forward_features(images).map(Tensor.float)

    @cached_property
    def by_batch(self) -> Network:
        """The network of `batch_outputs`, made on first use and not folded. Its norms are in training mode but keep
        their running statistics; all else is in evaluation mode, without dropout."""
        network = copy.deepcopy(self._network)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.train()
        return network.to(self.device).to(memory_format=torch.channels_last)

    def _parts(self, images: Tensor) -> tuple[Tensor, ...]:
        return images.to(self.dtype).split(choose_batch_size(BATCH, self.device, images.shape[-1]))


class _Whole(nn.Module):
    """A network whose forward pass returns everything."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Any, ...]:
        return tuple(self.network.forward_features(images))


def _first_output_only(module: GraphModule) -> GraphModule:
    """The same layers, of which only those run that the first output needs."""
    graph = Graph()
    outputs = graph.graph_copy(module.graph, {})
    assert isinstance(outputs, tuple)
    graph.output(outputs[0])
    pruned = GraphModule(module, graph)
    pruned.graph.eliminate_dead_code()
    pruned.recompile()
    return pruned


@dataclass(frozen=True)
class TeacherFacts:
    """scores: on the test set. energies: by membership, (N,) in the order of the training set: for `view` of the images
    augmented as the run trains on them, for `image` of the images as they are."""

    sha256: str
    scores: Scores
    energies: Mapping[str, Tensor]


def teacher_file(spec: RunSpec, results: Path, given: dict[str, str]) -> Path:
    """Where the weights of a run's teacher lie: trained here, or given by the user."""
    source = spec.teacher_source or ""
    if spec.teacher_run is not None:
        path = weights_path(results, spec.teacher_run)
        if not path.exists():
            raise UserError(f"teacher {spec.teacher} of {name_of(spec)} is not trained yet: {path} is missing")
        if not has_weights(results, spec.teacher_run):
            raise UserError(
                f"{path} is damaged, or not what teacher {spec.teacher} was when it was trained: the same command "
                "trains it again"
            )
        return path
    digest = source.removeprefix("sha256:")
    if digest not in given:
        raise UserError(f"the weights of teacher {spec.teacher} (sha256 {digest[:12]}) were not given: use --teachers")
    return Path(given[digest])


def load_teacher(spec: RunSpec, path: Path, dataset: Source) -> tuple[Teacher, str]:
    """The teacher of a run and the sha256 of its weights file; refuses a file that is not the one in the spec."""
    assert spec.teacher is not None
    model = build(spec.teacher, dataset.num_classes, dataset.side)
    digest = load_weights(model, path, spec.teacher)
    if spec.teacher_run is None and spec.teacher_source != f"sha256:{digest}":
        raise UserError(f"teacher file {path} has changed since the sweep was planned: start the sweep again")
    return Teacher(model, device=dataset.device.type, precision=spec.precision), digest


def measure_teacher(
    teacher: Teacher, digest: str, dataset: Source, stream: Stream, specs: Sequence[RunSpec], results: Path
) -> TeacherFacts:
    """What the runs of a job need to know of their teacher. Each answer is kept in `results/teachers`, under all that
    its bits depend on, and computed once, by all devices of a job."""
    spec, share = specs[0], stream.share
    assert spec.teacher is not None
    network = file_name(spec.teacher)
    device = surroundings(teacher.device.type)["device"]
    always = f"{digest} {dataset.fingerprint} {spec.precision} {device} {torch.get_num_threads()}"
    augmented = f"{stream.seed} {spec.augmentation} {stream.version}"
    most = choose_batch_size(BATCH, teacher.device, dataset.side)
    made: dict[str, tuple[str, Callable[[], Tensor]]] = {
        "view": (augmented, lambda: _energies(teacher, stream.each_once(most))),
        "image": ("", lambda: _energies(teacher, (images for images, _ in dataset.scan("train", most, share)))),
    }

    def kept(name: str, more: str, make: Callable[[], Tensor]) -> Tensor:
        key = hashlib.sha256(f"{name} {always} {more}".encode()).hexdigest()[:24]
        return _load_or_make(results / "teachers" / f"{network}-{name}-{key}.pt", make)

    scores = kept("scores", "", lambda: torch.tensor(evaluate([teacher.logits], dataset)[0]).double())
    energies = {
        name: kept(name, *made[name]).to(teacher.device)
        for name in sorted({spec.membership for spec in specs if spec.end is not None})
    }
    return TeacherFacts(digest, Scores(*scores.tolist()), energies)


@torch.no_grad()
def _energies(teacher: Teacher, batches: Iterable[Tensor]) -> Tensor:
    """(N,) on the processor; each device computes those of its parts."""
    parts = [energy(teacher.logits(images)) for images in batches]
    own = torch.cat(parts).cpu() if parts else torch.empty(0)
    return torch.cat(all_gather(own))


def _load_or_make(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """The numbers of an earlier time, else made now by all devices and kept by the first."""
    first = current_share().rank == 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(path.with_suffix(".lock")) if first else contextlib.nullcontext():
        stored, *_ = all_gather(_read(path) if first else None)
        if stored is None and first:
            drop_temporaries(path.parent, path.name)
        if stored is None:
            stored = make()
            if first:
                buffer = io.BytesIO()
                torch.save(stored, buffer)
                write_atomically(path, with_checksum(buffer.getvalue()))
    return stored


def _read(path: Path) -> Tensor | None:
    """What is kept, or None where there is nothing or it is damaged (it is then computed again)."""
    content = verify_checksum(read_file(path)) if path.exists() else None
    if content is None:
        return None
    stored: Tensor = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return stored
