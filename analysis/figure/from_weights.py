"""What is drawn from weights and images rather than from the ledger's numbers: Figures 4 to 8, and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figure import drawings, rule_drawing
from analysis.figure.observations import (
    SHOWN,
    Folders,
    Weights,
    answers,
    certainty,
    embedded,
    predictions,
    student,
    teacher,
)
from analysis.figure.rule_values import values_of, write_csv
from analysis.figure.style import render_figure
from analysis.table import captions, names
from analysis.table.command_line import write
from analysis.table.kinds import PictureTable
from analysis.table.resolved import ResolvedPart, ResolvedTable
from trainables.errors import UserError
from trainables.recipes import Pair

FIRST = 16
RANKS = {"figure4": range(FIRST), "figure8": range(FIRST, SHOWN)}


def write_figure_from_runs(
    resolved: ResolvedTable,
    results: Path,
    data_dir: Path | None,
    teachers: Sequence[tuple[str, str]],
    folder: Path,
) -> list[Path]:
    """Draw a picture into `folder` as PNG and PDF, by the weights of the first seed in `results`.

    teachers: (sha256, path) of weights files that were given. The first pair is `TABLE.png`, any other
    `TABLE-TEACHER-STUDENT.png`. Nothing where no row was asked for. What a network answers on `data_dir` is computed
    once and kept in `results/observations`. Raises UserError where weights are missing.
    """
    place = Folders(results, data_dir, tuple(teachers))
    paths = []
    for name, figure in figures(resolved, place).items():
        for form in ("png", "pdf"):
            paths.append(folder / f"{name}.{form}")
            write(paths[-1], render_figure(figure, form, resolved.table.key))
    return paths


def figures(resolved: ResolvedTable, place: Folders) -> dict[str, Figure]:
    """A picture for each pair (for each teacher where there is no student), by the names of their files."""
    table, kind = resolved.table, resolved.table.kind
    assert isinstance(kind, PictureTable)
    drawn: dict[str, Figure] = {}
    for part in resolved.parts:
        pairs = part.pairs
        if not part.rows:
            pairs = tuple({pair.teacher: pair for pair in reversed(pairs)}.values())[::-1]
        for pair in pairs[:1] if place.teacher else pairs:
            networks = (pair.teacher, pair.student) if part.rows else (pair.teacher,)
            name = "-".join((table.key, *networks)) if drawn else table.key
            drawn[name] = _DRAW[kind.shows](resolved, part, pair, place)
    return drawn


def rules(
    resolved: ResolvedTable, own: Weights, taught: Weights | None, place: Folders
) -> tuple[Figure, str, list[str]]:
    """What the rules of the rows give to each training image: the picture, its numbers as CSV, and the labels of the
    rows that are left out because nothing of them is known without a student."""
    energies, values = values_of(resolved, own, taught, place)
    known = [one for one in values if one.parts]
    lacking = [one.label for one in values if not one.parts]
    if not known:
        raise UserError(f"all that {', '.join(lacking)} gives depends on the student: name its weights by --student")
    said = f"teacher {_network(own)}" + (f"; student {_network(taught)}" if taught else "")
    title = _title(resolved, "training images, augmented", said, [own])
    title += [
        "In the first epoch. Factor: what the divergence of an image is multiplied by. Share: of the sum of all "
        "factors, by tenth of the images, those of lowest energy first. One temperature a class: that of the label is "
        "shown. Axes reach from the 0.5th to the 99.5th percentile."
    ]
    return rule_drawing.rules(energies, known, title), write_csv(energies, known), lacking


def _images(resolved: ResolvedTable, part: ResolvedPart, pair: Pair, place: Folders) -> Figure:
    weights = teacher(resolved, pair, place)
    arrays = certainty(weights, resolved.settings, place)
    said = f"teacher {_network(weights)}" if place.teacher is None else _network(weights)
    return drawings.images(arrays, RANKS[resolved.table.key], _title(resolved, "training images", said, [weights]))


def _predictions(resolved: ResolvedTable, part: ResolvedPart, pair: Pair, place: Folders) -> Figure:
    weights = teacher(resolved, pair, place)
    arrays, rate = predictions(weights, resolved.settings, pair, place)
    said = f"teacher {_network(weights)}" if place.teacher is None else _network(weights)
    shown = "training images, augmented"
    return drawings.predictions(arrays, rate, _title(resolved, shown, said, [weights]))


def _embedding(resolved: ResolvedTable, part: ResolvedPart, pair: Pair, place: Folders) -> Figure:
    taught = _students(resolved, part, pair, place)
    columns = {label: embedded(weights, resolved.settings, place) for label, weights in taught.items()}
    said = _describe_training(pair, taught)
    return drawings.embedding(columns, _title(resolved, "test images", said, list(taught.values())))


def _correlation(resolved: ResolvedTable, part: ResolvedPart, pair: Pair, place: Folders) -> Figure:
    taught = _students(resolved, part, pair, place)
    own = teacher(resolved, pair, place)
    wanted = answers(own, resolved.settings, place)["logits"]
    gaps = {
        label: drawings.correlation_gap(answers(weights, resolved.settings, place)["logits"], wanted)
        for label, weights in taught.items()
    }
    said = f"{_describe_training(pair, taught)}; teacher {own.training}"
    return drawings.correlation(gaps, _title(resolved, "test images", said, [*taught.values(), own]))


_DRAW: dict[str, Callable[[ResolvedTable, ResolvedPart, Pair, Folders], Figure]] = {
    "images": _images,
    "predictions": _predictions,
    "embedding": _embedding,
    "correlation": _correlation,
}


def _students(resolved: ResolvedTable, part: ResolvedPart, pair: Pair, place: Folders) -> dict[str, Weights]:
    """By the labels of their rows."""
    return {row.label: student(resolved, part, pair, row, place) for row in part.rows}


def _network(weights: Weights) -> str:
    return f"{names.network(weights.network)}, {weights.training}"


def _describe_training(pair: Pair, students: dict[str, Weights]) -> str:
    """The pair, and how its students were trained: once where it is the same for all."""
    who = names.pair(pair)
    ways = {weights.training for weights in students.values()}
    if len(ways) == 1:
        return f"{who}, {ways.pop()}"
    return f"{who}, " + ", ".join(f"{label} {weights.training}" for label, weights in students.items())


def _title(resolved: ResolvedTable, split: str, said: str, weights: Sequence[Weights]) -> list[str]:
    settings = resolved.settings
    fraction = "" if settings.train_fraction == 1 else f"{settings.train_fraction:.3g} of the "
    asides = captions.asides(resolved, shortened=any(one.shortened for one in weights))
    shown = f"{names.dataset(settings.dataset)}, {fraction if split == 'training images' else ''}{split}"
    return [resolved.title, f"{shown}; {said}", "; ".join(asides)]
