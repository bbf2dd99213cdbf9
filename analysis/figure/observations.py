"""What pictures show of networks: weights found by the runs that the tables use, their answers kept in files.

Answers need torch, which is loaded where they are not known yet. They are kept in `observations` of the results, under
the SHA-256 of the weights and what names the images, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.figure import embedding
from analysis.record.settings import Settings
from analysis.record.specs import student_spec
from analysis.table import names
from analysis.table.layout import Row
from analysis.table.resolved import ResolvedPart, ResolvedTable
from trainables import datasets
from trainables.commands import command_name
from trainables.errors import UserError, reason_of
from trainables.network_names import file_name
from trainables.own_code import hash_own
from trainables.recipes import Pair, energy_kd, energy_temperature
from trainables.run_names import name_of
from trainables.spec import RunSpec
from trainables.storage.runs import hash_file, read_file, weights_path, write_atomically

if TYPE_CHECKING:
    from trainables.observe import Images

Arrays = dict[str, np.ndarray]

SEED = 1
SHOWN = 48
"""Images of each end that are kept: those of Figures 4 and 8."""


@dataclass(frozen=True)
class Weights:
    """Weights to look at. training: how they came to be, in a few words. shortened: by fewer epochs or images."""

    network: str
    path: Path
    sha256: str
    training: str
    shortened: bool = False


@dataclass(frozen=True)
class Folders:
    """Where results and images lie. teachers: (sha256, path) of weights files that were given.

    teacher: weights to show as the teacher, whatever the settings say; they need no ledger and no run.
    """

    results: Path
    data_dir: Path | None = None
    teachers: tuple[tuple[str, str], ...] = ()
    teacher: Weights | None = None


def digest(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {reason_of(error)}") from error


def given(network: str, path: Path) -> Weights:
    """Weights of a file that no run here has trained."""
    sha256 = digest(path)
    return Weights(network, path, sha256, f"given weights (sha256 {sha256[:12]})")


def teacher(resolved: ResolvedTable, pair: Pair, place: Folders) -> Weights:
    """A pair's teacher: given by file, or trained here."""
    if place.teacher is not None:
        return place.teacher
    spec = resolved.teacher_of(pair)
    if spec is not None:
        return _find_trained(resolved, spec, resolved.settings.recipe.plain.epochs, place)
    wanted = dict(resolved.settings.teachers)[pair.teacher]
    path = dict(place.teachers).get(wanted)
    if path is None:
        raise UserError(f"the weights of teacher {pair.teacher} (sha256 {wanted[:12]}) were not given: use --teachers")
    found = given(pair.teacher, Path(path))
    if found.sha256 != wanted:
        raise UserError(f"teacher file {path} has changed since its students were trained: give the one of then")
    return found


def student(resolved: ResolvedTable, part: ResolvedPart, pair: Pair, row: Row, place: Folders) -> Weights:
    """The student of a row, of the first seed."""
    recipe = resolved.settings.recipe
    usual = recipe.schedule_of(row.treat(recipe, pair)).epochs
    return _find_trained(resolved, resolved.cells[part.key, row.key, pair][0], usual, place)


def _find_trained(resolved: ResolvedTable, spec: RunSpec, usual: int, place: Folders) -> Weights:
    path = weights_path(place.results, spec.run_id)
    if not path.exists():
        raise UserError(
            f"{resolved.table.key} needs the weights of {name_of(spec)}, which are not in {path.parent}: "
            f"{_command(resolved, place)}"
        )
    shortened = spec.epochs < usual or spec.train_fraction < 1
    return Weights(spec.student, path, digest(path), f"{names.epochs(spec.epochs)}, seed {spec.seed}", shortened)


def _command(resolved: ResolvedTable, place: Folders) -> str:
    """The command that trains what a picture lacks."""
    settings = resolved.settings
    paths = [path for _, path in place.teachers] if settings.teachers else []
    folders = {
        "--data-dir": place.data_dir,
        "--teachers": os.path.commonpath(paths) if paths else None,
        "--results": place.results,
    }
    named = [word for name, path in folders.items() if path is not None for word in (name, str(path))]
    return f"{command_name('run')} {shlex.join([resolved.table.key, *settings.options(), *named])}"


def certainty(weights: Weights, settings: Settings, place: Folders) -> Arrays:
    """How certain a teacher is of the training images (`trainables.observe.certainty`)."""

    def make() -> Arrays:
        from trainables import observe

        return observe.certainty(weights.network, weights.path, _images(settings, place), count=SHOWN)

    return _load_or_make("certainty", weights, settings, place, make, str(SHOWN))


def predictions(weights: Weights, settings: Settings, pair: Pair, place: Folders) -> tuple[Arrays, float]:
    """What a teacher predicts at both ends of the energies (`trainables.observe.predictions`), and the pair's r."""
    spec = student_spec(settings, pair, energy_kd(settings.recipe, pair), SEED)
    rate, augmentation = energy_temperature(settings.recipe, pair).rate, spec.augmentation

    def make() -> Arrays:
        from trainables import observe

        images = replace(_images(settings, place), augmentation=augmentation, seed=SEED)
        return observe.predictions(weights.network, weights.path, images, rate=rate)

    return _load_or_make("predictions", weights, settings, place, make, f"{rate} {augmentation} {SEED}"), rate


def training_logits(weights: Weights, settings: Settings, spec: RunSpec, place: Folders) -> Arrays:
    """What a network answers on the training images as the run sees them (`trainables.observe.training_logits`)."""

    def make() -> Arrays:
        from trainables import observe

        images = replace(_images(settings, place), augmentation=spec.augmentation, seed=spec.seed)
        return observe.training_logits(weights.network, weights.path, images)

    return _load_or_make("training_logits", weights, settings, place, make, f"{spec.augmentation} {spec.seed}")


def answers(weights: Weights, settings: Settings, place: Folders) -> Arrays:
    """What a network answers on the test images (`trainables.observe.answers`)."""

    def make() -> Arrays:
        from trainables import observe

        return observe.answers(weights.network, weights.path, _images(settings, place))

    return _load_or_make("answers", weights, settings, place, make)


def embedded(
    weights: Weights, settings: Settings, place: Folders
) -> list[tuple[embedding.ClassGroup, embedding.ClassMap]]:
    """The features of each group of classes on a plane."""

    def make() -> Arrays:
        found = answers(weights, settings, place)
        classes = tuple(found["classes"].tolist())
        arrays = {"classes": found["classes"]}
        for number, group in enumerate(embedding.groups(classes)):
            panel = embedding.embed(found["pooled"], found["labels"], classes, group)
            arrays |= {f"{number}_{name}": np.asarray(value) for name, value in vars(panel).items()}
        return arrays

    arrays = _load_or_make("embedding", weights, settings, place, make)
    found = []
    for number, group in enumerate(embedding.groups(tuple(arrays["classes"].tolist()))):
        scores = [float(arrays[f"{number}_{name}"]) for name in ("map_silhouette", "feature_silhouette")]
        found.append((group, embedding.ClassMap(arrays[f"{number}_points"], arrays[f"{number}_labels"], *scores)))
    return found


def _images(settings: Settings, place: Folders) -> Images:
    from trainables.observe import Images

    return Images(
        settings.dataset, place.data_dir, settings.data, settings.train_fraction, settings.tail, settings.normalisation
    )


def _load_or_make(
    kind: str, weights: Weights, settings: Settings, place: Folders, make: Callable[[], Arrays], more: str = ""
) -> Arrays:
    """The arrays of an earlier time if the classes still have their names, else made now and kept."""
    images = f"{settings.dataset} {settings.data} {settings.train_fraction} {settings.tail} {settings.normalisation}"
    if own := hash_own("", settings.dataset, frozenset([weights.network])):
        images += f" {own}"
    key = hashlib.sha256(f"{kind} {weights.network} {weights.sha256} {images} {more}".encode()).hexdigest()[:24]
    path = place.results / "observations" / f"{kind}-{file_name(weights.network)}-{key}.npz"
    known, classes = _read(path), datasets.class_names(settings.dataset, place.data_dir)
    if known is None or (classes and classes != tuple(known.get("classes", np.empty(0)).tolist())):
        known = make()
        buffer = io.BytesIO()
        np.savez(buffer, **known)  # type: ignore[arg-type]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, buffer.getvalue())
        except OSError as error:
            raise UserError(f"cannot write {path}: {reason_of(error)}") from error
    return known


def _read(path: Path) -> Arrays | None:
    """None where there is nothing, or it is damaged (it is then made again)."""
    try:
        with np.load(io.BytesIO(read_file(path)), allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
