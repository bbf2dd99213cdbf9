"""The figures that are drawn from weights and images rather than from the ledger's numbers: Figures 4 to 8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.figure import drawings
from analysis.figure.drawings import Figure
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
from analysis.record.settings import Settings
from analysis.table import names
from analysis.table.command_line import write
from analysis.table.layout import Part, Table, chosen_pairs, chosen_rows, settings_for, taught_parts
from trainables.recipes import Pair

FIRST = 16
RANKS = {"figure4": range(FIRST), "figure8": range(FIRST, SHOWN)}


def write_figure_from_runs(
    table: Table,
    settings: Settings,
    results: Path,
    data_dir: Path | None,
    teachers: Sequence[tuple[str, str]],
    folder: Path,
) -> list[Path]:
    """Draw a table of PICTURES into `folder` as PNG and PDF, by the weights of the first seed in `results`.

    teachers: (sha256, path) of weights files that were given. The first pair is `TABLE.png`, any other
    `TABLE-TEACHER-STUDENT.png`. Nothing where no row was asked for. What a network answers on `data_dir` is computed
    once and kept in `results/observations`. Raises UserError where weights are missing.
    """
    place = Folders(results, data_dir, tuple(teachers))
    paths = []
    for name, figure in figures(table, settings, place).items():
        for form in ("png", "pdf"):
            paths.append(folder / f"{name}.{form}")
            write(paths[-1], drawings.saved(figure, form, table.key))
    return paths


def figures(table: Table, settings: Settings, place: Folders) -> dict[str, Figure]:
    """A picture for each pair (for each teacher where there is no student), by the names of their files."""
    settings = settings_for(table, settings)
    drawn: dict[str, Figure] = {}
    for part in taught_parts(table, settings):
        pairs = chosen_pairs(part, settings)
        if not part.rows:
            pairs = tuple({pair.teacher: pair for pair in reversed(pairs)}.values())[::-1]
        for pair in pairs[:1] if place.teacher else pairs:
            networks = (pair.teacher, pair.student) if part.rows else (pair.teacher,)
            name = "-".join((table.key, *networks)) if drawn else table.key
            drawn[name] = _DRAW[table.plot](table, part, settings, pair, place)
    return drawn


def _images(table: Table, part: Part, settings: Settings, pair: Pair, place: Folders) -> Figure:
    weights = teacher(table, settings, pair, place)
    arrays = certainty(weights, settings, place)
    said = f"teacher {_network(weights)}" if place.teacher is None else _network(weights)
    return drawings.images(arrays, RANKS[table.key], _title(table, settings, "training images", said, [weights]))


def _predictions(table: Table, part: Part, settings: Settings, pair: Pair, place: Folders) -> Figure:
    weights = teacher(table, settings, pair, place)
    arrays, rate = predictions(weights, settings, pair, place)
    said = f"teacher {_network(weights)}" if place.teacher is None else _network(weights)
    shown = "training images, augmented"
    return drawings.predictions(arrays, rate, _title(table, settings, shown, said, [weights]))


def _embedding(table: Table, part: Part, settings: Settings, pair: Pair, place: Folders) -> Figure:
    taught = _students(table, part, settings, pair, place)
    columns = {label: embedded(weights, settings, place) for label, weights in taught.items()}
    said = _taught(settings, pair, taught)
    return drawings.embedding(columns, _title(table, settings, "test images", said, list(taught.values())))


def _correlation(table: Table, part: Part, settings: Settings, pair: Pair, place: Folders) -> Figure:
    taught = _students(table, part, settings, pair, place)
    own = teacher(table, settings, pair, place)
    wanted = answers(own, settings, place)["logits"]
    gaps = {
        label: drawings.correlation_gap(answers(weights, settings, place)["logits"], wanted)
        for label, weights in taught.items()
    }
    said = f"{_taught(settings, pair, taught)}; teacher {own.training}"
    return drawings.correlation(gaps, _title(table, settings, "test images", said, [*taught.values(), own]))


_DRAW: dict[str, Callable[[Table, Part, Settings, Pair, Folders], Figure]] = {
    "images": _images,
    "predictions": _predictions,
    "embedding": _embedding,
    "correlation": _correlation,
}


def _students(table: Table, part: Part, settings: Settings, pair: Pair, place: Folders) -> dict[str, Weights]:
    """By the labels of their rows."""
    return {row.label: student(table, settings, pair, row, place) for row in chosen_rows(part, settings)}


def _network(weights: Weights) -> str:
    return f"{names.network(weights.network)}, {weights.training}"


def _taught(settings: Settings, pair: Pair, students: dict[str, Weights]) -> str:
    """The pair, and how its students were trained: once where it is the same for all."""
    who = f"{names.network(pair.teacher)} / {names.network(pair.student)}"
    ways = {weights.training for weights in students.values()}
    if len(ways) == 1:
        return f"{who}, {ways.pop()}"
    return f"{who}, " + ", ".join(f"{label} {weights.training}" for label, weights in students.items())


def _title(table: Table, settings: Settings, split: str, said: str, weights: Sequence[Weights]) -> list[str]:
    fraction = "" if settings.train_fraction == 1 else f"{settings.train_fraction:.3g} of the "
    asides = [
        "" if settings.dataset == table.dataset else f"not the paper's data ({names.dataset(table.dataset)})",
        "shortened, not the paper's schedule" if any(one.shortened for one in weights) else "",
    ]
    shown = f"{names.dataset(settings.dataset)}, {fraction if split == 'training images' else ''}{split}"
    return [table.title, f"{shown}; {said}", "; ".join(aside for aside in asides if aside)]
